// main WHAT INPUT OUTPUT: runs a scan, or what stands around one, in the emulation.
#include <string>

#include "cuda/program.hpp"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  unrolled::Input in{std::fopen(argv[2], "rb")};
  std::FILE* out = std::fopen(argv[3], "wb");
  if (in.file == nullptr || out == nullptr) return 2;
  const std::string what = argv[1];
  if (what == "scan")
    unrolled::run_scan(in, out);
  else if (what == "head")
    unrolled::run_head(in, out);
  else if (what == "models")
    unrolled::run_models(in, out);
  else
    return 2;
  return std::fclose(out);
}
