"""What we declare of XLA's interface is what jaxlib's header says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

OURS = Path(__file__).resolve().parents[1] / "src" / "cpp"

# Our struct, XLA's, and the fields of both in their order.
STRUCTS = [
    ("Extension", "XLA_FFI_Extension_Base", "struct_size type next"),
    (
        "Version",
        "XLA_FFI_Api_Version",
        "struct_size extension:extension_start major:major_version minor:minor_version",
    ),
    (
        "ErrorRequest",
        "XLA_FFI_Error_Create_Args",
        "struct_size extension:extension_start message code:errc",
    ),
    (
        "Api",
        "XLA_FFI_Api",
        "struct_size extension:extension_start version:api_version internal:internal_api "
        "create_error:XLA_FFI_Error_Create",
    ),
    (
        "Buffer",
        "XLA_FFI_Buffer",
        "struct_size extension:extension_start dtype data rank dims",
    ),
    ("Text", "XLA_FFI_ByteSpan", "data:ptr size:len"),
    ("Scalar", "XLA_FFI_Scalar", "dtype value"),
    ("Buffers", "XLA_FFI_Args", "struct_size extension:extension_start size types items:args"),
    ("Buffers", "XLA_FFI_Rets", "struct_size extension:extension_start size types items:rets"),
    (
        "Attributes",
        "XLA_FFI_Attrs",
        "struct_size extension:extension_start size types names items:attrs",
    ),
    (
        "Frame",
        "XLA_FFI_CallFrame",
        "struct_size extension:extension_start api context:ctx stage arguments:args results:rets "
        "attributes:attrs",
    ),
    ("Metadata", "XLA_FFI_Metadata", "struct_size version:api_version traits"),
    ("MetadataExtension", "XLA_FFI_Metadata_Extension", "base:extension_base metadata"),
]
VALUES = {
    "Code::kInvalidArgument": "XLA_FFI_Error_Code_INVALID_ARGUMENT",
    "Code::kResourceExhausted": "XLA_FFI_Error_Code_RESOURCE_EXHAUSTED",
    "Code::kInternal": "XLA_FFI_Error_Code_INTERNAL",
    "DType::kPred": "XLA_FFI_DataType_PRED",
    "DType::kS32": "XLA_FFI_DataType_S32",
    "DType::kS64": "XLA_FFI_DataType_S64",
    "DType::kU8": "XLA_FFI_DataType_U8",
    "DType::kF32": "XLA_FFI_DataType_F32",
    "DType::kF64": "XLA_FFI_DataType_F64",
    "AttributeType::kScalar": "XLA_FFI_AttrType_SCALAR",
    "AttributeType::kString": "XLA_FFI_AttrType_STRING",
    "kBufferType": "XLA_FFI_ArgType_BUFFER",
    "kBufferType ": "XLA_FFI_RetType_BUFFER",
    "kMetadataType": "XLA_FFI_Extension_Metadata",
    "kExecuteStage": "XLA_FFI_ExecutionStage_EXECUTE",
    "kMajor": "XLA_FFI_API_MAJOR",
}
# What XLA passes as struct_size, which is without the padding behind the last field.
SIZES = {
    "sizeof(ours::Buffer)": "XLA_FFI_Buffer_STRUCT_SIZE",
    "sizeof(ours::Buffers)": "XLA_FFI_Args_STRUCT_SIZE",
    "sizeof(ours::Buffers) ": "XLA_FFI_Rets_STRUCT_SIZE",
    "sizeof(ours::Attributes)": "XLA_FFI_Attrs_STRUCT_SIZE",
    "sizeof(ours::Frame)": "XLA_FFI_CallFrame_STRUCT_SIZE",
    "sizeof(ours::MetadataExtension)": "XLA_FFI_Metadata_Extension_STRUCT_SIZE",
    "ours::kMetadataBytes": "XLA_FFI_Metadata_STRUCT_SIZE",
    "sizeof(ours::Api)": "XLA_FFI_Api_STRUCT_SIZE",
}


def assertions() -> str:
    lines = []
    for ours, theirs, fields in STRUCTS:
        for field in fields.split():
            name, _, other = field.partition(":")
            other = other or name
            lines += [
                f"static_assert(offsetof(ours::{ours}, {name}) == offsetof({theirs}, {other}));",
                f"static_assert(sizeof(ours::{ours}::{name}) == sizeof({theirs}::{other}));",
            ]
    lines += [f"static_assert(int(ours::{a.strip()}) == int({b}));" for a, b in VALUES.items()]
    lines += [f"static_assert({a.strip()} <= size_t({b}));" for a, b in SIZES.items()]
    lines.append("static_assert(ours::kFirstMinor <= XLA_FFI_API_MINOR);")
    return "\n".join(lines)


def test_declarations_are_those_of_the_header(tmp_path: Path) -> None:
    ffi = pytest.importorskip("jax.ffi", reason='jax is not installed: pip install "unrolled[jax]"')
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("no C++ compiler")
    if not OURS.is_dir():
        pytest.skip("runs in the source tree")
    source = tmp_path / "compare.cpp"

    def compile_with(text: str) -> subprocess.CompletedProcess[str]:
        source.write_text(
            '#include "bindings/xla_abi.hpp"\n#include "xla/ffi/api/c_api.h"\n'
            f"namespace ours = unrolled::xla;\n{text}\n"
        )
        options = ["-std=c++20", "-fsyntax-only", f"-I{OURS}", f"-isystem{ffi.include_dir()}"]
        return subprocess.run(
            [compiler, *options, str(source)], capture_output=True, text=True, check=False
        )

    result = compile_with(assertions())
    assert result.returncode == 0, result.stderr
    wrong = compile_with("static_assert(int(ours::DType::kS32) == int(XLA_FFI_DataType_S64));")
    assert "static assertion failed" in wrong.stderr
