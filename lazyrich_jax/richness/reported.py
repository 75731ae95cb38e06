"""The numbers of a report, their readings, and the report as text and tables."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import ArrayLike, Real

if TYPE_CHECKING:
    import pandas
    import xarray

WHEN = "start", "end"
# One line of reading per number. The order is that of the text.
NUMBERS = {
    "loss": "the loss on these samples",
    "weight_movement": "|theta_1 - theta_0| / |theta_0|: small if lazy",
    "linearisation_gap": "what the linearised model misses of the change of the "
    "outputs: 0 lazy",
    "kernel_distance": "turn of the tangent kernel: 0 lazy, 1 rich",
    "rich_lazy_index": "relative change of the tangent kernel: 0 lazy, 1 rich",
    "target_alignment": "of the tangent kernel with the outer product of the targets",
    "kernel_dimension": "participation ratio of the tangent kernel's eigenvalues",
    "dynamical_richness": "D_LR, last features against the fewest that give the "
    "outputs: 0 no others (rich); compare with the start",
    "sharpness": "largest curvature of the loss: descent needs a step below 2 over it",
    "nc1": "neural collapse, spread within classes: 0 collapsed",
    "nc2_norms": "neural collapse, unequal norms of class means: 0 collapsed",
    "nc2_angles": "neural collapse, unequal angles of class means: 0 collapsed",
    "nc3": "neural collapse, weights against class means: 0 collapsed",
    "nc4": "neural collapse, outputs against the nearest class mean: 0 collapsed",
}
LAYERS = {
    "movement": "|W_1 - W_0| / |W_0|: small if lazy",
    "update_rank": "effective rank of W_1 - W_0",
    "effective_rank": "effective rank of the weight",
    "feature_alignment": "CKA of start and end: 1 lazy",
    "feature_change": "relative change of the features' kernel: 0 lazy",
    "activation_flips": "share of pre-activations that changed sign: 0 lazy",
    "gradient_alignment": "of W^T W with the root of the average gradient outer "
    "product (the neural feature ansatz); compare with the start",
}
PAIRS = {
    "lmda": "balance, positive if the upper layer is larger",
    "residual": "distance from a balanced pair: 0 balanced",
    "drift": "change of the balance matrix over its weights: 0 for gradient flow of "
    "linear maps",
}
READINGS = NUMBERS | LAYERS | PAIRS


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Report:
    """How rich a training was: the result of `lazyrich_jax.richness.report`.

    Printing it shows a line of reading for every number. `report["kernel_distance"]`
    is one of them.

    **Attributes:**

    - `parameters`, `samples`, `outputs`: how many there are.
    - `numbers`: by name, a number, or two: at the start and the end.
    - `layers`: by name, an array with an entry (or two) per layer of `layer_names`.
    - `pairs`: by name, an array with an entry (or two) per pair of layers of
      `pair_names`.
    - `errors`: standard errors, by the name of a number that was estimated.
    - `left_out`: the reasons, by the name of a number, or of a pair, that is not there.
    """

    parameters: int
    samples: int
    outputs: int
    numbers: Mapping[str, np.ndarray]
    layer_names: tuple[str, ...]
    layers: Mapping[str, np.ndarray]
    pair_names: tuple[str, ...]
    pairs: Mapping[str, np.ndarray]
    errors: Mapping[str, float]
    left_out: Mapping[str, str]

    def __getitem__(self, name: str) -> np.ndarray:
        """A number, or the numbers of all layers or pairs, by name.

        **Raises:** `KeyError` for a name that isn't there, with the reason.
        """
        for group in (self.numbers, self.layers, self.pairs):
            if name in group:
                return group[name]
        if name in self.left_out:
            raise KeyError(f"`{name}` is left out: {self.left_out[name]}")
        known = [*self.numbers, *self.layers, *self.pairs]
        raise KeyError(f"`name` must be one of {known}, but it was {name!r}.")

    def to_xarray(self) -> "xarray.Dataset":
        """All numbers, over `when` (start, end), `layer` and `pair`."""
        import xarray

        fields = {}
        for dim, group in (((), self.numbers), (("layer",), self.layers)):
            fields |= {n: _labelled(x, dim) for n, x in group.items()}
        fields |= {n: _labelled(x, ("pair",)) for n, x in self.pairs.items()}
        coordinates = {
            "when": list(WHEN),
            "layer": list(self.layer_names),
            "pair": list(self.pair_names),
        }
        about = {name: getattr(self, name) for name in ("parameters", "samples")}
        data = xarray.Dataset(fields, coordinates, about)
        for name, reading in READINGS.items():
            if name in data:
                data[name].attrs["reading"] = reading
        return data

    def to_pandas(self) -> "pandas.DataFrame":
        """A row per value: `quantity`, `place` (layer, pair or ""), `when`, `value`."""
        import pandas

        return pandas.DataFrame(
            list(_rows(self)), columns=["quantity", "place", "when", "value"]
        )

    def __repr__(self) -> str:
        """The size of the report."""
        return f"Report({len(self.layer_names)} layers, {self.samples} samples)"

    def __str__(self) -> str:
        """One line of reading per number; a table of the layers, and of the pairs."""
        head = f"Richness of training: {self.parameters} parameters"
        if self.samples:
            head += f", {self.samples} samples, {self.outputs} outputs"
        lines = [head]
        for name, reading in NUMBERS.items():
            if name in self.numbers:
                value = _text(self.numbers[name])
                if self.errors.get(name):
                    value += f" ± {self.errors[name]:.1g}"
                lines.append(f"  {_title(name):<18} {value:<20} {reading}")
        lines += _table("Layers", self.layer_names, self.layers, LAYERS)
        lines += _table("Pairs", self.pair_names, self.pairs, PAIRS)
        if self.left_out:
            lines.append("Left out")
            for why in dict.fromkeys(self.left_out.values()):
                names = [n for n, reason in self.left_out.items() if reason == why]
                titles = [_title(n) if n in READINGS else n for n in names]
                lines.append(f"  {', '.join(titles)}: {why}")
        return "\n".join(lines)


def _labelled(values: np.ndarray, dims: tuple[str, ...]) -> tuple:
    """A value for xarray: an axis beyond `dims` is that of start and end."""
    return (*dims, "when")[: np.ndim(values)], values


def _rows(report: Report) -> Iterator[tuple[str, str, str, float]]:
    groups = (
        (("",), {n: np.asarray(x)[None] for n, x in report.numbers.items()}),
        (report.layer_names, report.layers),
        (report.pair_names, report.pairs),
    )
    for places, group in groups:
        for name, values in group.items():
            for place, value in zip(places, values, strict=True):
                whens = WHEN if np.ndim(value) else ("",)
                for when, number in zip(whens, np.atleast_1d(value), strict=True):
                    yield name, place, when, float(number)


def _title(name: str) -> str:
    return name.replace("_", " ")


def _text(value: Real[ArrayLike, "..."]) -> str:
    """A number, or two as a change."""
    return " -> ".join(f"{x:.3g}" for x in np.atleast_1d(value))


def _table(
    title: str,
    names: tuple[str, ...],
    columns: Mapping[str, np.ndarray],
    readings: Mapping[str, str],
) -> list[str]:
    """A row per name under a head, and the readings of the columns."""
    if not names or not columns:
        return []
    heads = [name for name in readings if name in columns]
    cells = [[title, *(_title(head) for head in heads)]]
    cells += [
        [name, *(_text(columns[head][i]) for head in heads)]
        for i, name in enumerate(names)
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    notes = [f"    {head.replace('_', ' ')}: {readings[head]}" for head in heads]
    return [lines[0], *(f"  {line}" for line in lines[1:]), *notes]
