"""The description beside an encoder's weights, and the folders of encoders. Reading them needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from comem_core.backbone.finding import SHIPPED
from comem_core.backbone.quantization import OFF, Quantization, describe_weights
from comem_core.stated_fields import read_fields

if TYPE_CHECKING:
    from comem_core.backbone.interface import Backbone

WEIGHTS, DESCRIPTION = "encoder.safetensors", "encoder.json"


Dtype = Literal["float32", "bfloat16", "float16"]
DTYPES = get_args(Dtype)


@dataclass(frozen=True, kw_only=True)
class Description:
    """The description of an encoder, saved beside its weights. Early versions did not write fields with a default."""

    recipe: Mapping[str, Any]
    backbone: str
    backbone_sha256: str
    backbone_dtype: Dtype = "float32"
    backbone_quantization: Quantization = OFF
    parameters: Mapping[str, int]
    parameter_share: str = ""
    size_bytes: int = 0

    def refuse_other_backbone(self, backbone: "Backbone") -> None:
        """Raise ValueError unless this backbone has the weights, number type and quantisation that the encoder was
        trained for."""
        wanted = describe_weights(self.backbone_dtype, self.backbone_quantization)
        held = describe_weights(str(backbone.model.dtype).removeprefix("torch."), backbone.quantization)
        if held != wanted:
            raise ValueError(
                f"this encoder was trained for backbone {self.backbone!r} in {wanted}, but "
                f"{backbone.name!r} is loaded in {held}; load it in {wanted}"
            )
        found = backbone.identify_weights()
        if found != self.backbone_sha256:
            raise ValueError(
                f"this encoder was trained for backbone {self.backbone!r} (weights {self.backbone_sha256[:12]}), but "
                f"{backbone.name!r} has weights {found[:12]}"
            )


def find_encoder_folder(name: str | Path) -> Path:
    """Return the folder of an encoder, given its path or the name of one that ships with the project.

    Raises:
        ValueError: the folder or name holds no encoder; the message lists the shipped encoders.
    """
    for folder in (SHIPPED / name, Path(name)):
        if (folder / WEIGHTS).is_file():
            return folder
    shipped = ", ".join(sorted(path.parent.name for path in SHIPPED.glob(f"*/{WEIGHTS}")))
    found = f"{WEIGHTS} is missing" if Path(name).is_dir() else "there is no such folder"
    raise ValueError(f"{name} holds no encoder: {found}; the shipped encoders are: {shipped}")


def read_description(folder: Path) -> Description:
    """Read an encoder's description.

    Raises:
        ValueError: the folder holds no encoder, or its description is damaged; the message names file and fault.
    """
    if missing := [name for name in (WEIGHTS, DESCRIPTION) if not (folder / name).is_file()]:
        raise ValueError(f"{folder} holds no encoder: {', '.join(missing)} is missing")
    return Description(**read_fields(folder / DESCRIPTION, Description))
