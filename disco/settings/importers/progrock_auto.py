"""The rules by which progrockdiffusion fills in "auto"."""

from __future__ import annotations


def automatic_eta(steps: int) -> float:
    """0 up to 50 steps, then straight up to 1 at 315."""
    return round(min(1.0, max(0.0, (steps - 50) / 265)), 2)


def automatic_scale(pixels: float) -> int:
    """2500 up to 250,000 pixels, then straight up to 50,000 at 2,000,000."""
    fraction = min(1.0, max(0.0, (pixels - 250_000) / 1_750_000))
    return round(2500 + 47_500 * fraction)


def automatic_clamp(steps: int, secondary: bool) -> float:
    """More for more steps, twice that without the secondary network."""
    limits = {35: 0.001, 75: 0.0125, 150: 0.02, 225: 0.035, 300: 0.05, 500: 0.075}
    value = next((value for most, value in limits.items() if steps <= most), 0.1)
    return value if secondary else 2 * value
