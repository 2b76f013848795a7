"""`python -m sandbox.chain.compile` turns the Vyper sources into the committed artifacts (needs the dev packages)."""

import json

import vyper

from sandbox.chain.contracts import FOLDER, NAMES


def compiled(name: str) -> str:
    """The artifact's text: ABI and creation bytecode as JSON. The same source gives the same text anywhere."""
    source = (FOLDER / f"{name}.vy").read_text()
    output = vyper.compile_code(source, output_formats=["abi", "bytecode"])
    return json.dumps({"abi": output["abi"], "bytecode": output["bytecode"]}, indent=1) + "\n"


if __name__ == "__main__":
    for contract_name in NAMES:
        (FOLDER / f"{contract_name}.json").write_text(compiled(contract_name))
        print(f"compiled {contract_name}")
