"""Teachers from Hugging Face transformers: a model of the hub, or a saved folder.

    a model of images and texts (CLIP, SigLIP, …)   its image side only: summary is the image's embedding, as in `get_image_features`
    a model of images (ViT, DINOv2, ConvNeXt, …)    summary is what the model pools, else the class token, else the mean
    output=logits                                   the model with its classifier

Weights are read from safetensors only, and code beside them is never run (`trust_remote_code=False`). Nothing stays at a random value in
silence: a pooler that the file does not have is not used, anything else that is missing is an error. Size and
normalisation are those of `preprocessor_config.json`; images of another size are possible where the model can resample its positions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from alumnus.errors import MissingExtra, TeacherError, nearest
from alumnus.log import warn
from alumnus.teachers.huggingface_files import Preprocessing, licence_of, read_preprocessing
from alumnus.teachers.network import Loaded, TorchNetwork, pool
from alumnus.teachers.reading import split_tokens
from alumnus.teachers.spec import TeacherSpec, check_output, refuse, short_name
from alumnus.types import Features

if TYPE_CHECKING:
    import transformers

OUTPUTS = ("summary", "patches", "logits")
POOLER = "pooler."  # where the weights of a pooling layer stand
Call = Callable[..., Mapping[str, Any]]  # images (n, 3, S, S) -> transformers' named outputs


@runtime_checkable
class _TwoTowers(Protocol):
    """A model that embeds images and texts in one space."""

    def get_image_features(self, pixel_values: Tensor) -> Mapping[str, Any]: ...


def load(name: str, spec: TeacherSpec) -> Loaded:
    """Returns a network of transformers: `OWNER/NAME` on the hub, or a folder; with weights=random also a type of model, as `vit`.

    Raises:
        TeacherError: it cannot be had, is incomplete, or contradicts a setting.
        MissingExtra: transformers is not installed.
    """
    library, name = _library(), str(Path(name).expanduser()) if name.startswith("~") else name
    check_output(spec, OUTPUTS)
    if spec.weights not in {None, "random"}:
        refuse(
            spec, "weights", because="a model's folder has its own; put the file there as model.safetensors"
        )
    with _quiet(library):
        config = _read_config(library, name, spec)
        values = _image_side(config)
        native = _native(values)
        preprocessing = read_preprocessing(library, name, native, spec)
        model, lacks_pooler = _build(library, name, config, spec)
    size = spec.size or preprocessing.size
    if size is None:
        raise TeacherError(f"teacher {spec.source} does not say what images it wants; give size, in px")
    _check_size(values, size, spec)
    more = {"interpolate_pos_encoding": True} if size != native and _resamples(model) else {}
    read = _reader(values, size, preprocessing, spec, arguments=more, uses_pooler=not lacks_pooler)
    # The configuration stands in the model's attributes; what the order of the colours and the pooler are like, in none of them.
    network = TorchNetwork(model, read, origin=[f"flips {preprocessing.flips}, lacks pooler {lacks_pooler}"])
    return Loaded(
        network,
        name=short_name(Path(name).name),
        size=size,
        mean=preprocessing.mean,
        std=preprocessing.std,
        licence=licence_of(name) or "unknown",
        num_parameters=network.num_parameters,
    )


def _library() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("transformers", extra="hf") from error
    return transformers


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Reports of what was loaded are ours; its own are long."""
    logging = library.utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _read_config(library: Any, name: str, spec: TeacherSpec) -> transformers.PreTrainedConfig:
    if "/" not in name and not Path(name).exists():  # no folder, and on the hub all names have an owner
        if name in library.CONFIG_MAPPING and spec.weights == "random":
            return library.AutoConfig.for_model(name)
        hint = nearest(name, library.CONFIG_MAPPING) if spec.weights == "random" else ""
        raise TeacherError(
            f"teacher hf:{name}: there is no such folder, and on the hub names are OWNER/NAME{hint}"
            + (
                ""
                if spec.weights == "random"
                else "; a type of model, as vit, can be had with weights=random"
            )
        )
    try:
        return library.AutoConfig.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # the hub, the network below it, or the files: each has its own exceptions
        raise _unavailable("its config.json", name, error) from error


def _image_side(config: transformers.PreTrainedConfig) -> Mapping[str, Any]:
    values: Mapping[str, Any] = config.to_dict()
    side: Mapping[str, Any] = values.get("vision_config", values)
    return side


def _unavailable(what: str, name: str, error: Exception) -> TeacherError:
    if Path(name).is_dir():
        return TeacherError(f"teacher hf:{name}: {what} cannot be used: {_first_line(error)}")
    return TeacherError(
        f"teacher hf:{name}: {what} could not be downloaded ({type(error).__name__}: {_first_line(error)}); "
        "there is no such folder either. hf:FOLDER takes a folder that save_pretrained or `hf download` wrote"
    )


def _build(
    library: Any, name: str, config: transformers.PreTrainedConfig, spec: TeacherSpec
) -> tuple[nn.Module, bool]:
    """Returns the model, without its text side, and whether it has a pooler that was never learnt."""
    kind = library.AutoModelForImageClassification if spec.output == "logits" else library.AutoModel
    if spec.weights == "random":
        warn(f"teacher hf:{name} has random weights, as asked for")
        with torch.random.fork_rng(devices=[]):  # building draws random numbers; the run's are not disturbed
            torch.manual_seed(0)
            model, missing = _empty(kind, name, config), set[str]()
    else:
        with torch.random.fork_rng(devices=[]):  # a pooler that the file lacks is drawn, the same every time
            torch.manual_seed(0)
            model, missing = _download(kind, name, config)
    if isinstance(model, _TwoTowers):
        missing = {key for key in missing if not _is_text(key)}
        for part in [part for part, _ in model.named_children() if _is_text(part)]:
            delattr(model, part)
    lacking = sorted(key for key in missing if not key.startswith(POOLER))
    if lacking:
        raise TeacherError(
            f"teacher hf:{name}: the weights lack {', '.join(lacking[:3])} of {type(model).__name__}"
            + ("; is it a classifier?" if spec.output == "logits" else "")
        )
    return model, bool(missing)


def _empty(kind: Any, name: str, config: transformers.PreTrainedConfig) -> nn.Module:
    try:
        model: nn.Module = kind.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except (ValueError, TypeError) as error:
        raise TeacherError(f"teacher hf:{name} cannot be built: {_first_line(error)}") from error
    return model


def _download(kind: Any, name: str, config: transformers.PreTrainedConfig) -> tuple[nn.Module, set[str]]:
    try:
        model, info = kind.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # as for the configuration
        raise _unavailable("its weights (model.safetensors)", name, error) from error
    return model, set(info["missing_keys"])


def _is_text(name: str) -> bool:
    return name.startswith(("text_", "logit_"))


def _check_size(values: Mapping[str, Any], size: int, spec: TeacherSpec) -> None:
    """Refuses what the patch embedding would cut off in silence."""
    patch = _patch(values)
    if patch is not None and size % patch:
        valid = max(patch, round(size / patch) * patch)
        raise TeacherError(
            f"teacher {spec.source}: size={size} is not a multiple of its patches of {patch} px; nearest valid is {valid}"
        )


def _patch(values: Mapping[str, Any]) -> int | None:
    """Side of a patch in px, of the models that say so by a number."""
    patch = values.get("patch_size")
    return patch if isinstance(patch, int) else None


def _native(values: Mapping[str, Any]) -> int | None:
    """Side in px that the configuration says, as a number or a pair."""
    size = values.get("image_size")
    if isinstance(size, list | tuple):
        return int(size[0]) if len(set(size)) == 1 else None
    return size if isinstance(size, int) else None


def _resamples(model: nn.Module) -> bool:
    """Whether it can resample the embeddings of its positions for another grid, when it is asked to."""
    function = model.get_image_features if isinstance(model, _TwoTowers) else model.forward
    return "interpolate_pos_encoding" in inspect.signature(function).parameters


def _reader(
    values: Mapping[str, Any],
    size: int,
    preprocessing: Preprocessing,
    spec: TeacherSpec,
    *,
    arguments: Mapping[str, bool],
    uses_pooler: bool,
) -> Callable[[nn.Module, Tensor], Features]:
    """How to read the model: transformers' named outputs as features."""
    patch = _patch(values)
    num_patches = None if patch is None else (size // patch) ** 2

    def read(model: nn.Module, image: Tensor) -> Features:
        call: Call = model.get_image_features if isinstance(model, _TwoTowers) else model
        said = call(pixel_values=image.flip(1) if preprocessing.flips else image, **arguments)
        if spec.output == "logits":
            return Features(said["logits"])
        if "ids_restore" in said:
            raise TeacherError(
                f"teacher {spec.source}: {type(model).__name__} hides patches at random, so that its features change; "
                "timm has masked autoencoders as plain networks, e.g. timm/vit_base_patch16_224.mae"
            )
        features = _features(said, num_patches, uses_pooler=uses_pooler)
        if spec.output == "patches" and features.patches is None:
            raise TeacherError(f"teacher {spec.source} gives no grid of patches; use output=summary")
        return features if spec.output == "patches" else Features(features.summary)

    return read


def _features(said: Mapping[str, Any], num_patches: int | None, *, uses_pooler: bool) -> Features:
    """Of the last hidden state, tokens (n, L, D) or a grid (n, D, H, W), and what the model pooled, if it did."""
    last, pooled = said["last_hidden_state"], said.get("pooler_output")
    if last.ndim == 4:
        summary, patches = pool(last)
    else:
        # where the model narrows its grid (Swin), the patches of its configuration are not those of its end
        known = num_patches if num_patches is not None and num_patches <= last.shape[1] else None
        parts = split_tokens(last, num_patches=known)
        others, patches = (last[:, :0], None) if parts is None else parts
        summary = others[:, 0] if others.shape[1] else last.mean(dim=1)
    if pooled is not None and uses_pooler:
        summary = pooled.flatten(1)  # of convolutional networks (n, D, 1, 1)
    return Features(summary, patches)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
