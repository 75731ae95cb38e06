"""The pages of the reference, from signatures and docstrings."""

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import griffe

MODULES = (
    *("", "theory", "kernels", "measures", "applications", "plot"),
    *("sweeps", "inference", "richness", "reductions"),
)
# A line of a formula that starts with a sign is not an item of a list.
FORMULA = re.compile(r"(?<!\$)\$[^$`]+\$(?!\$)")
PAGE = re.compile(r"docs/(\w+)\.md")


def write(folder: Path) -> None:
    """Write one page for each namespace that users type, and their contents."""
    folder.mkdir()
    package = griffe.load("lazyrich_jax", resolve_aliases=True)
    for name in MODULES:
        module = f"lazyrich_jax.{name}".rstrip(".")
        text = _page(importlib.import_module(module), package)
        (folder / f"{name or 'lr'}.md").write_text(text, encoding="utf-8")
    names = "\n".join(module or "lr" for module in MODULES)
    (folder / "index.md").write_text(
        "# Reference\n\n`lr` is `lazyrich_jax`. Shapes are in the signatures: "
        '`Float[Array, "times out in"]` is an array of three axes.\n\n'
        f"```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n",
        encoding="utf-8",
    )


def _page(module: ModuleType, package: griffe.Object) -> str:
    """Everything that a namespace defines."""
    prefix = module.__name__.replace("lazyrich_jax", "lr")
    parts = [f"# {prefix}", _text(inspect.getdoc(module) or "")]
    for name, value in vars(module).items():
        ours = getattr(value, "__module__", "").startswith(module.__name__)
        if ours and callable(value) and not name.startswith("_"):
            # Where it is defined: a module may have the name of its function.
            path = f"{value.__module__}.{value.__name__}".split(".")[1:]
            parts.append(_entry(f"{prefix}.{name}", value, package[path]))
    return "\n\n".join(parts) + "\n"


def _entry(name: str, value: Callable, item: griffe.Object | griffe.Alias) -> str:
    """A function, or a class with its methods."""
    text = _text(item.docstring.value if item.docstring else "")
    if not item.is_class:
        return f"::::::{{py:function}} {_signature(name, item)}\n{text}\n::::::"
    methods = [
        _method(f"{name}.{key}", member)
        for key, member in item.members.items()
        if not key.startswith("_") and member.docstring and not _is_field(member)
    ]
    text = "\n\n".join([text, *methods])
    return f"::::::{{py:class}} {name}{_of_class(value, item)}\n{text}\n::::::"


def _text(docstring: str) -> str:
    """A docstring with each formula on one line, and links to pages."""
    text = FORMULA.sub(lambda match: match[0].replace("\n", " "), docstring)
    return PAGE.sub(r"[\1](../\1.md)", text)


def _is_field(member: griffe.Object | griffe.Alias) -> bool:
    return member.is_attribute and "property" not in member.labels


def _method(name: str, member: griffe.Object | griffe.Alias) -> str:
    text = _text(member.docstring.value if member.docstring else "")
    if member.is_attribute:
        head = f":::::{{py:property}} {name}\n:type: {member.annotation}"
        return f"{head}\n\n{text}\n:::::"
    kind = "method"
    for label in ("classmethod", "staticmethod"):
        if label in member.labels:
            kind = label
    return f":::::{{py:{kind}}} {_signature(name, member)}\n{text}\n:::::"


def _signature(name: str, item: griffe.Object | griffe.Alias) -> str:
    """The signature, as in the source, on one line."""
    parameters = [p for p in item.parameters if p.name not in ("self", "cls")]
    returns = f" -> {item.returns}" if item.returns else ""
    return f"{name}({_listed(parameters)}){returns}".replace("\n", " ")


def _listed(parameters: list[griffe.Parameter]) -> str:
    """Parameters as Python writes them."""
    kinds = griffe.ParameterKind
    stars = {kinds.var_positional: "*", kinds.var_keyword: "**"}
    out, keyword_only = [], False
    for p in parameters:
        if p.kind is kinds.keyword_only and not keyword_only:
            out.append("*")
        keyword_only |= p.kind in (kinds.keyword_only, kinds.var_positional)
        note = f": {p.annotation}" if p.annotation else ""
        starred = p.kind in stars  # has no default, although griffe names one
        default = "" if p.default is None or starred else f" = {p.default}"
        out.append(f"{stars.get(p.kind, '')}{p.name}{note}{default}")
    return ", ".join(out)


def _of_class(value: Callable, item: griffe.Object | griffe.Alias) -> str:
    """The arguments of a class: of its `__init__`, or its fields."""
    if "__init__" in item.members:
        return _signature("", item.members["__init__"])
    try:
        signature = inspect.signature(value)
    except ValueError:  # such as an enumeration
        return ""
    members = item.all_members
    parameters = [
        griffe.Parameter(
            p.name,
            annotation=getattr(members.get(p.name), "annotation", None),
            kind=griffe.ParameterKind[p.kind.name.lower()],
            default=None if p.default is p.empty else repr(p.default),
        )
        for p in signature.parameters.values()
    ]
    return f"({_listed(parameters)})".replace("\n", " ")
