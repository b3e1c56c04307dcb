"""What is known about a node class: its inputs in widget order and its outputs.

The same description is read from a class in this process and from the `/object_info` of a running ComfyUI, so
that conversion and validation need not know which of the two will run the workflow.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})
SEED_NAMES = frozenset({"seed", "noise_seed"})
FILE_OPTION = "input_file"
UPLOAD_OPTIONS = ("image_upload", "video_upload", "audio_upload", "animated_image_upload")


class NodeClass(Protocol):
    """What is read from a node's class here: names of the method that runs it and of its output types."""

    FUNCTION: str
    RETURN_TYPES: Any  # a tuple of type names

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The inputs by kind (required, optional, hidden) and name, each with its type and options."""


NodeClasses = Mapping[str, type[NodeClass]]


@dataclass(frozen=True)
class InputSpec:
    """One input of a node class.

    name, type: as the class declares them; the type is COMBO where there are choices.
    required: whether a workflow must give it.
    options: what the class declares beside the type, such as default, min and max.
    choices: the allowed values of a COMBO, else None.
    """

    name: str
    type: str
    required: bool
    options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    choices: tuple[Any, ...] | None = field(default=None, kw_only=True)

    @classmethod
    def from_declaration(cls, name: str, declaration: Any, required: bool) -> InputSpec:
        """Reads (type,), (type, options), (choices,) or ("COMBO", {"options": choices}) of INPUT_TYPES."""
        kind, *rest = declaration if isinstance(declaration, list | tuple) else (declaration,)
        options = rest[0] if rest and isinstance(rest[0], Mapping) else {}
        choices = (
            kind if isinstance(kind, list | tuple) else options.get("options") if kind == "COMBO" else None
        )
        if choices is not None:
            return cls(name, "COMBO", required, options=options, choices=tuple(choices))
        return cls(name, str(kind), required, options=options)

    @property
    def is_widget(self) -> bool:
        """Whether the editor shows a widget, whose value a UI-format file keeps by position."""
        return self.type in WIDGET_TYPES and not self.options.get("forceInput")

    @property
    def takes_value(self) -> bool:
        """Whether a constant may stand here instead of a link."""
        return self.type in WIDGET_TYPES or self.type == "*"

    @property
    def has_control(self) -> bool:
        """Whether the editor adds a "control after generate" widget, whose value follows in its files."""
        declared = self.options.get("control_after_generate")
        return self.is_widget and bool(self.name in SEED_NAMES if declared is None else declared)

    @property
    def upload(self) -> bool:
        """Whether the value names an input file, with an upload button beside it in the editor."""
        return any(self.options.get(option) for option in UPLOAD_OPTIONS)

    @property
    def names_file(self) -> bool:
        """Whether the value names a file of the input folder, from which a run outside ComfyUI reads LoRAs too."""
        return self.upload or bool(self.options.get(FILE_OPTION))


@dataclass(frozen=True)
class NodeSpec:
    """The inputs and outputs of one node class.

    class_type: its name in workflow files.
    inputs: by name, required ones first, in declared order.
    outputs: the type of each output.
    is_output: whether it saves or shows something, so that a run executes it and what it needs.
    """

    class_type: str
    inputs: Mapping[str, InputSpec]
    outputs: tuple[Any, ...] = ()
    is_output: bool = False

    @classmethod
    def from_class(cls, class_type: str, node_class: type[NodeClass]) -> NodeSpec:
        """Reads INPUT_TYPES, RETURN_TYPES and OUTPUT_NODE of a class in this process."""
        return cls._read(
            class_type,
            node_class.INPUT_TYPES(),
            node_class.RETURN_TYPES,
            getattr(node_class, "OUTPUT_NODE", False),
        )

    @classmethod
    def from_server(cls, class_type: str, info: Mapping[str, Any]) -> NodeSpec:
        """Reads one entry of ComfyUI's `/object_info`."""
        return cls._read(
            class_type, info.get("input", {}), info.get("output") or (), info.get("output_node", False)
        )

    @classmethod
    def _read(
        cls, class_type: str, declared: Mapping[str, Any], outputs: Iterable[Any], is_output: bool
    ) -> NodeSpec:
        inputs = {
            name: InputSpec.from_declaration(name, declaration, category == "required")
            for category in ("required", "optional")
            for name, declaration in (declared.get(category) or {}).items()
        }
        return cls(class_type, inputs, tuple(outputs), bool(is_output))


def specs_of(node_classes: NodeClasses, wanted: Iterable[str]) -> dict[str, NodeSpec]:
    """Specs of those `wanted` class types that exist in `node_classes`."""
    return {
        name: NodeSpec.from_class(name, node_classes[name]) for name in set(wanted) if name in node_classes
    }


def suggestion(name: str, known: Iterable[str]) -> str:
    """A clause that names what is closest to `name`, or all that exists when nothing is close."""
    names = sorted(str(item) for item in known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"the closest is {' or '.join(close)}"
    return f"there is {', '.join(names)}" if names else "there is none"
