// The plain interface between the ISA units and the rest of the program: structs of pointers and
// sizes, and the table of functions that every unit fills in. No member functions, no STL: this
// header is compiled with and without AVX flags.
//
// Letters: T steps, B batch, I input, H hidden, G gates, S states, L lanes of a vector register.
//
// Packed gate order. Units are taken in blocks of L; the gates of a block stand side by side:
// column of (gate g, unit u) = (u / L * G + g) * L + u % L. The width of such a row is
// gate_width = ceil(H / L) * G * L. Pre-activations, their gradients, biases and the columns of
// packed weights are in this order, so that all gates of a block of units end in registers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/image_table.hpp"
#include "kernels/packed_layer.hpp"
#include "kernels/team.hpp"

namespace unrolled {

// Rows of memory: element (row, column) is data[row * stride + column].
template <class T>
struct Rows {
  T* data;
  int64_t stride;
};

// A user's (T, B, width) array with unit last stride: row (t, b) is data + t*step + b*row.
template <class T>
struct Sequence {
  T* data;
  int64_t step, row;
};

// In which numbers the products of a layer multiply; everything else is T. See kernels/operand.hpp.
enum class Precision : int { kFull, kBf16, kInt8 };
inline constexpr int kPrecisions = 3;
// Rows prepared for a product may be read so many at a time, the last with whatever lies behind.
inline constexpr int64_t kOperandRows = 16;

// Which rows are live at which step. Rows are ordered by length, longest first, so that the live
// rows of step t are 0 .. live[t]-1 and stand at compact rows offset[t] .. of all token arrays.
struct Plan {
  int64_t T, B, tokens;
  const int64_t* live;    // [T]
  const int64_t* offset;  // [T + 1]
  const int64_t* order;   // [B] user row of each ordered row
  const uint8_t* resets;  // (T, B) in user order, or null
  int64_t resets_step;    // elements from one step of resets to the next
  bool reverse;
  bool ordered;  // order is the identity and every row is live at every step
  // BPTT goes through chunks of steps, the last first; each begins at a position of the processing
  // order. What the forward pass does not store is recomputed for a window of whole chunks at a
  // time. Both lists ascend from 0; they are empty at inference, windows where all is stored.
  const int64_t *chunks, *windows;
  int64_t chunk_count, window_count;
};

// What of a step is done: all of it, the recurrent product, which waits in `middle`, or the rest.
enum class Part : int { kWhole, kProduct, kRest };

inline constexpr int kMaxStates = 4;
inline constexpr double kUnlimited = __builtin_inf();

// Input that is looked up: x of compact row n = rows[tokens[n]]. The input product is then done
// once for each of the V rows instead of once for each token. `tokens` is null for ordinary input.
template <class T>
struct Lookup {
  const int64_t* tokens;
  const T* rows;  // (V, I)
  int64_t V;
};

template <class T>
struct ForwardArgs {
  const PackedLayer<T>* weights;
  const Plan* plan;
  Sequence<const T> x;
  Lookup<T> lookup;
  // States that leave each step, y[0] the output; data of the others may be null: not wanted.
  Sequence<T> y[kMaxStates];
  // Shares of its new value that each state takes, the rest stays as it was (zoneout); data may be
  // null: it takes all.
  Sequence<const T> update[kMaxStates];
  T cell_limit = static_cast<T>(kUnlimited);  // of the state c, see cells/all.hpp
  const T* factors;  // (B, R) of h in the recurrent product, as dropout draws them; null: ones
  const T* initial[kMaxStates];  // (B, H) or null for zeros
  T* final[kMaxStates];          // (B, H)
  // States that enter each step. By `keep_states`: a row a token plus B spare ones, or 2 * B rows.
  Rows<T> states[kMaxStates];
  bool keep_states;
  Rows<T> multiplied;  // h as the recurrent product reads it: states[0], or the same rows masked
  T* saved;  // [blocks of units][saved_rows][values][L], or null: values for BPTT are not stored
  int64_t saved_rows;
  T* moments;  // [saved_rows][2] where products are normalised: what divides each part
  Rows<T> entering[kMaxStates];  // states that enter each window of the plan, B rows each
  Rows<T> gates;         // scratch: input part of `chunk_rows` rows, or of the V rows of a lookup
  Rows<T> middle;        // scratch: `chunk_rows` rows of middle_width, see LayerSizes
  T* hold;               // scratch: in place of `saved` between two products, chunk_rows rows
  T* gathered;           // scratch: [team size][chunk_tokens][I], used when rows are not in place
  T* operands;           // scratch: [team size][operand_rows][operand_width], see LayerSizes
  T* parts;              // scratch: recurrent_parts, or null: they are made in every step
  int64_t operand_rows;  // at least the rows of a step and of a chunk; a multiple of kOperandRows
  bool by_rows;          // the team shares rows of the batch rather than units
  int64_t chunk_tokens;  // steps are taken in chunks of at least this many tokens
  int64_t chunk_rows;    // rows that the scratch arrays hold
  Part part = Part::kWhole;
  int64_t turn = 0;  // odd: products go through their panels backwards, as in every other step
};

template <class T>
struct BackwardArgs {
  const PackedLayer<T>* weights;
  const Plan* plan;
  Sequence<const T> x;
  Lookup<T> lookup;
  Sequence<const T> dy[kMaxStates];  // data may be null: zeros
  Sequence<const T> update[kMaxStates];
  T cell_limit = static_cast<T>(kUnlimited);
  const T* factors;
  Sequence<T> dx;  // data may be null: not wanted; rows are those of `lookup` if it is used
  bool accumulate_dx;
  const T* dfinal[kMaxStates];  // (B, H) or null for zeros
  T* dinitial[kMaxStates];      // (B, H)
  Rows<T> states[kMaxStates];   // as left by forward; of one window where it is recomputed
  Rows<T> multiplied;           // likewise
  const T* saved;               // likewise
  int64_t saved_rows;
  const T* moments;             // likewise
  const ForwardArgs<T>* again;  // recomputes a window of both; null: all is stored
  LayerParameters<T> grads;     // added to; biases may be null
  // Limits of the gradient of h on its way to the step before: of its elements, of rows' norms.
  T clip_value = static_cast<T>(kUnlimited), clip_norm = static_cast<T>(kUnlimited);
  Rows<double> squares;       // scratch with clip_norm: B rows, of a number a panel of R
  Rows<T> carry[kMaxStates];  // scratch: B rows, gradients on their way to the previous step
  Rows<T> through;            // scratch with factors: B rows, what the recurrent product adds
  Rows<T> dinput[2];          // scratch: two chunks of input-part gradients, used alternately
  Rows<T> drecurrent[2];      // the same for the recurrent part; equal to dinput unless split
  Rows<T> dunit[2];           // the same for gradients of the units' parameters
  // Scratch of a second product: two chunks of what it multiplied and of its gradients, and B rows.
  Rows<T> middle[2], dsecond[2], dmiddle;
  Rows<T> dscaled[2];    // scratch: two chunks of gradients behind the norms
  Rows<T> dlookup;       // scratch: V rows, sums of input-part gradients by looked-up row
  T* gathered;           // scratch: [team size][chunk_rows][max(I, 1)]
  T* outer;              // scratch: [team size][outer_scratch]
  T* operands;           // scratch: [team size][operand_rows][gradient_width]
  T* parts;              // scratch: recurrent_t_parts, or null
  int64_t operand_rows;  // chunk_rows rounded up to kOperandRows
  bool by_rows;          // the team shares rows of the batch rather than units
  int64_t chunk_rows;    // rows that the scratch arrays hold
};

template <class T>
struct CellKernels {
  LayerSizes (*sizes)(int64_t I, int64_t H, int64_t R);
  void (*pack)(const LayerParameters<const T>& from, PackedLayer<T>& to, const Team& team);
  void (*forward)(const ForwardArgs<T>& args, const Team& team);
  void (*backward)(const BackwardArgs<T>& args, const Team& team);
};

struct CellInfo {
  const char* name;
  int gate_count, state_count, unit_count;
  const char* const* gates;
  const char* const* states;
  const char* const* units;
  bool recurrent;   // there is a recurrent product
  bool projects;    // state h has a width R of its own
  bool normalises;  // products are normalised over a row
  bool clips;       // its state c may be limited
  int function_count;
  const Function* functions;  // by default
};

// y (N, O) = x (N, I) W^T + b, with W (O, I) packed by pack_linear.
template <class T>
struct LinearArgs {
  int64_t N, I, O;
  const T* x;
  const T* packed;  // [panels of O][I][panel]
  const T* bias;    // (O), padded to whole panels, or null
  T* y;
};

template <class T>
struct LinearBackwardArgs {
  int64_t N, I, O;
  const T *x, *dy;
  const T* packed_t;  // [panels of I][O][panel]; null when dx is null
  T *dx, *dweight, *dbias;
  T* outer;
};

template <class T>
struct CrossEntropyArgs {
  int64_t N, I, V;
  const T* x;               // (N, I)
  const T* packed;          // [panels of V][I][panel]
  const T* packed_t;        // [panels of I][V][panel]; null: losses only
  const T* bias;            // (V), padded to whole panels, or null
  const int64_t* targets;   // (N), negative: ignored
  T scale;                  // of the gradients
  T smoothing;              // part of the target's probability that all classes share
  T* losses;                // (N)
  T *dx, *dweight, *dbias;  // dx is written, the others are added to; dbias may be null
  Rows<T> logits[2];        // scratch: two blocks of `block` rows, used alternately
  int64_t block;
  T* outer;
  T* operands;           // scratch: `operand_size` elements a member for rows as the products read
  int64_t operand_size;  // them, those of its share of a block
};

// The head in one precision.
template <class T>
struct HeadKernels {
  int64_t (*words)(int64_t K);      // of a packed column of length K
  int64_t (*row_words)(int64_t K);  // of a row that is prepared for a pass of a product; 0: none is
  void (*pack_linear)(const T* weight, int64_t O, int64_t I, T* packed, const Team& team);
  void (*pack_linear_t)(const T* weight, int64_t O, int64_t I, T* packed_t, const Team& team);
  void (*cross_entropy)(const CrossEntropyArgs<T>& args, const Team& team);
};

// Connectionist temporal classification of one sequence; see kernels/ctc.hpp.
template <class T>
struct CtcArgs {
  int64_t frames, V, S;  // S labels
  int64_t blank;
  Rows<const T> logits;   // (frames, V)
  const int64_t* labels;  // (S)
  Rows<T> dlogits;        // (frames, V), written unless the loss is inf; data null: the loss only
  T* scratch;             // ctc_scratch(frames, S) elements
};

// The memory of one source, packed: what attention reads. With `additive` keys stand in rows (S, K)
// for their sums with queries, else in panels for their products. The backward copies may be null.
template <class T>
struct AttentionSource {
  int64_t S;          // places
  const T* keys;      // additive: [S][K]; else [panels of S][K][panel]
  const T* values;    // [panels of M][S][panel]
  const T* keys_t;    // [panels of K][S][panel]; null where additive
  const T* values_t;  // [panels of S][M][panel]
};

// Queries over one source; see kernels/attention.hpp. Rows are written as far as S.
template <class T>
struct AttentionArgs {
  int64_t steps, K, M;
  AttentionSource<T> source;
  const T* vector;        // (K) of additive scores; null: dot products
  Rows<const T> queries;  // (steps, K)
  Rows<T> weights;        // (steps, S)
  Rows<T> contexts;       // (steps, M)
};

template <class T>
struct AttentionBackwardArgs {
  int64_t steps, K, M;
  AttentionSource<T> source;
  const T* vector;
  Rows<const T> queries, weights, dcontexts;
  Rows<T> dscores;  // (steps, S), written, or with `scored` read
  bool scored;
  Rows<T> dqueries;        // (steps, K), written; data null: not wanted
  Rows<T> dkeys, dvalues;  // (S, K) and (S, M), added to; data null: not wanted
  T* dvector;              // (K), added to together with dkeys where additive
  T* outer;                // scratch: outer_scratch elements
};

// What every optimizer reads: the gradient is grads * scale, clamped to -limit..limit.
template <class T>
struct GradientArgs {
  const T* grads;
  T scale, limit;
};

template <class T>
struct AdamArgs {
  int64_t size;
  T* values;
  GradientArgs<T> gradient;
  T *first, *second;
  T learning_rate, beta1, beta2, epsilon, weight_decay;
  T fresh1, fresh2;                       // 1 - beta, which float would round badly
  T first_correction, second_correction;  // 1 - beta^step
  bool decoupled;
};

template <class T>
struct SgdArgs {
  int64_t size;
  T* values;
  GradientArgs<T> gradient;
  T* velocity;  // null without momentum
  T learning_rate, momentum, weight_decay;
  bool nesterov;
};

template <class T>
struct RmspropArgs {
  int64_t size;
  T* values;
  GradientArgs<T> gradient;
  T* square;
  T* mean;                                                         // null unless centered
  T* velocity;                                                     // null without momentum
  T learning_rate, alpha, fresh, epsilon, momentum, weight_decay;  // fresh: 1 - alpha
};

enum class MathFunction : int { kExp, kSigmoid, kTanh, kLog1p };

template <class T>
struct Kernels {
  // By precision, in the order of KernelTable::cells, of which the first `narrow_cells` have all
  // precisions; null where there is none. `backward` is null where a precision is for inference
  // alone.
  const CellKernels<T>* cells[kPrecisions];
  int64_t panel;                             // columns of a panel of the plain products
  int64_t outer_scratch;                     // elements of a thread's scratch for outer products
  const HeadKernels<T>* heads[kPrecisions];  // by precision; null where there is none
  void (*linear)(const LinearArgs<T>& args, const Team& team);  // packed in full precision
  void (*linear_backward)(const LinearBackwardArgs<T>& args, const Team& team);
  int64_t source_panel;  // columns of a panel over the places of a source
  void (*pack_source_rows)(Rows<const T> rows, int64_t S, int64_t K, T* packed);
  void (*pack_source_columns)(Rows<const T> rows, int64_t S, int64_t K, T* packed);
  void (*attention)(const AttentionArgs<T>& args);
  void (*attention_backward)(const AttentionBackwardArgs<T>& args);
  T (*log_sum_exp)(const T* x, int64_t V);
  int64_t (*ctc_scratch)(int64_t frames, int64_t S);
  double (*ctc)(const CtcArgs<T>& args);  // returns the loss
  const ImageKernels<T>* images;
  void (*adam)(const AdamArgs<T>& args, const Team& team);
  void (*sgd)(const SgdArgs<T>& args, const Team& team);
  void (*rmsprop)(const RmspropArgs<T>& args, const Team& team);
  // average += weight * (values - average)
  void (*average)(const T* values, T* average, int64_t size, T weight, const Team& team);
  // Sums of squares of blocks of kNormBlock elements, in double.
  void (*square_sums)(const T* values, int64_t size, double* sums, const Team& team);
  void (*apply_math)(MathFunction function, const T* x, T* y, int64_t size);
  double (*run_fma)(int64_t rounds);  // returns the floating-point operations done
  T (*sum_all)(const T* values, int64_t size);
};

inline constexpr int64_t kNormBlock = 4096;

struct KernelTable {
  const char* isa;
  int cell_count, narrow_cells;
  const CellInfo* cells;
  Kernels<float> f32;
  Kernels<double> f64;
};

}  // namespace unrolled
