"""sbom.py SBOM BINARY...: fails unless the SBOM is valid CycloneDX and lists exactly the crates that each binary was built from.

cargo-auditable stores that list in the section .dep-v0 as zlib-compressed JSON:
https://github.com/rust-secure-code/cargo-auditable/blob/master/PARSING.md
"""

import json
import struct
import sys
import zlib
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def section(elf: bytes, name: bytes) -> bytes:
    """The content of a section of a 64-bit little-endian ELF file. binutils reads only files of its own architecture."""
    table = struct.unpack_from("<Q", elf, 0x28)[0]
    size, count, names = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + index * size) for index in range(count)]
    strings = headers[names][4]
    for offset, _, _, _, start, length in headers:
        if elf[strings + offset :].startswith(name + b"\0"):
            return elf[start : start + length]
    sys.exit(f"no section {name.decode()}: build with cargo auditable")


def main(sbom: str, *binaries: str) -> None:
    text = Path(sbom).read_text()
    if error := JsonStrictValidator(SchemaVersion.V1_5).validate_str(text):
        sys.exit(f"{sbom} is not valid CycloneDX 1.5: {error}")
    document = json.loads(text)
    components = [document["metadata"]["component"], *document["components"]]
    listed = {(component["name"], component["version"]) for component in components}
    for binary in binaries:
        packages = json.loads(zlib.decompress(section(Path(binary).read_bytes(), b".dep-v0")))["packages"]
        built = {(package["name"], package["version"]) for package in packages}
        if built != listed:
            sys.exit(f"{binary} and {sbom} differ: {sorted(built ^ listed)}")
        print(f"{binary}: {len(built)} crates, as in the SBOM")


main(*sys.argv[1:])
