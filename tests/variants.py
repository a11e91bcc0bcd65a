"""Networks beyond the plain stack: normalised, residual, tied, with zoneout, of independent lines; all at once."""

VARIANTS = {
    "layer norm": {"layer_norm": True},
    "residual": {"residual": True},
    "skips": {"input_skips": True, "output_skips": True},
    "skips, embedded": {"input_skips": True, "output_skips": True, "embed": 5, "residual": True},
    "tied": {"tied": True},
    "zoneout": {"zoneout": 0.3},
    "stateless": {"stateless": True},
    "everything": {
        **{"layer_norm": True, "residual": True, "input_skips": True, "output_skips": True},
        **{"tied": True, "zoneout": 0.2, "stateless": True},
    },
}


def variant(name, cell):
    """Settings of a variant; an LSTM's zoneout is of both states."""
    settings = VARIANTS[name]
    return settings | {"zoneout_cell": 0.4} if cell == "lstm" and "zoneout" in settings else settings
