"""NumPy codecs: bit by bit, and line by line after the papers."""

import numpy as np

_HEADER = 48
_FIXED = 31


# Codes of bits, written as texts of 0 and 1, the first bit first.


def to_bytes(text: str) -> bytes:
    """Bits as bytes, the first the lowest."""
    text += "0" * (-len(text) % 8)
    groups = (text[i : i + 8] for i in range(0, len(text), 8))
    return bytes(int(group[::-1], 2) for group in groups)


def field(value: int, width: int) -> str:
    """A number in so many bits, the lowest first."""
    return "".join(str(int(value) >> i & 1) for i in range(width))


def parameter(mean: float) -> int:
    """l of a Rice code."""
    return max(0, round(np.log2(max(np.log(2) * mean, 1))))


def gaps_of(indices) -> list[int]:
    """Indices that are left out before each."""
    before = [-1, *indices[:-1]]
    return [int(i - b - 1) for i, b in zip(indices, before, strict=True)]


def encode_indices(indices, size: int) -> bytes:
    """All remainders, from a new byte on all quotients."""
    width = parameter((size - len(indices)) / len(indices))
    gaps = gaps_of(indices)
    low = "".join(field(gap % 2**width, width) for gap in gaps)
    high = "".join("0" * (gap >> width) + "1" for gap in gaps)
    return to_bytes(low) + to_bytes(high)


def encode_integers(values, width: int) -> bytes:
    """Whichever is shorter: Rice codes of gaps and sizes, or fields."""
    places = np.flatnonzero(values)
    gaps = gaps_of(places) if len(places) else []
    sizes = [abs(int(values[place])) - 1 for place in places]
    mean = (np.mean(gaps), np.mean(sizes)) if gaps else (0, 0)
    of_gap = min(parameter(mean[0]), 16)
    of_size = min(parameter(mean[1]), width - 1)
    text = field(of_gap, 5) + field(of_size, 5) + field(len(places), 32)
    text += "0" * 6
    for place, gap, size in zip(places, gaps, sizes, strict=True):
        text += "1" if values[place] < 0 else "0"
        text += field(size % 2**of_size, of_size)
        text += field(gap % 2**of_gap, of_gap)
    for gap, size in zip(gaps, sizes, strict=True):
        text += "0" * (gap >> of_gap) + "1" + "0" * (size >> of_size) + "1"
    if len(text) > _HEADER + len(values) * width:
        text = field(_FIXED, 5) + "0" * (_HEADER - 5)
        text += "".join(field(v + 2 ** (width - 1) - 1, width) for v in values)
    return to_bytes(text)


def decode_integers(message: bytes, count: int, width: int) -> np.ndarray:
    """What `encode_integers` was given, read from the first bit to the last."""
    text = "".join(field(byte, 8) for byte in message)

    def number(start, width):
        return int("0" + text[start : start + width][::-1], 2)

    of_gap, of_size, nonzero = number(0, 5), number(5, 5), number(10, 32)
    if of_gap == _FIXED:
        starts = range(_HEADER, _HEADER + count * width, width)
        fields = [number(start, width) for start in starts]
        return np.array(fields) - (2 ** (width - 1) - 1)
    found, place = np.zeros(count, int), -1
    start = _HEADER
    each = 1 + of_size + of_gap
    end = start + nonzero * each

    def quotient():
        nonlocal end
        first = text.index("1", end)
        zeros, end = first - end, first + 1
        return zeros

    for i in range(nonzero):
        first = start + i * each
        gap = (quotient() << of_gap) + number(first + 1 + of_size, of_gap)
        size = (quotient() << of_size) + number(first + 1, of_size)
        place += gap + 1
        found[place] = (size + 1) * (-1 if text[first] == "1" else 1)
    return found


# What the server has of a vector x, or of a matrix.


def uniform_levels(x, width, draw=None):
    """QSGD's levels (Alistarh et al. 2017, 3.1), scaled by the largest entry.

    Args:
      x: Any shape.
      width: b.
      draw: Uniform in [0, 1), like x; None rounds to the nearest.
    """
    m, s = 2 ** (width - 1) - 1, np.abs(x).max()
    if s == 0:
        return np.zeros_like(x)
    y = m * (x / s)
    q = np.round(y) if draw is None else np.floor(y + draw)
    return s * np.clip(q, -m, m) / m


# Max 1960, "Quantizing for Minimum Distortion", Table I: the positive levels.
_MAX = {
    1: [0.7980],
    2: [0.4528, 1.510],
    3: [0.2451, 0.7560, 1.344, 2.152],
    4: [0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733],
}


def normal_levels(width):
    """Those that err least for normal numbers, as they were published."""
    levels = np.array(_MAX[width])
    return np.concatenate([-levels[::-1], levels])


def eden(x, levels):
    """EDEN (Vargaftik et al. 2022, Algorithm 1) of rotated numbers."""
    z = np.sqrt(x.size) * x / np.linalg.norm(x)
    c = levels[np.argmin(np.abs(z[:, None] - levels), 1)]
    return np.dot(x, x) / np.dot(x, c) * c


def one_bit(x, scale="mean"):
    """Signs (Karimireddy et al. 2019; `drive`: Vargaftik et al. 2021)."""
    total = np.abs(x).sum()
    s = total / x.size if scale == "mean" else np.square(x).sum() / total
    return s * np.where(x >= 0, 1, -1)


def top_k(x, k):
    """The k largest (Stich et al. 2018)."""
    order = np.argsort(-np.abs(x), kind="stable")[:k]
    found = np.zeros_like(x)
    found[order] = x[order]
    return found


def hadamard(size):
    """The Hadamard matrix over the root of its size, by its definition."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix / np.sqrt(size)


def low_rank(matrix, draw):
    """PowerSGD's factors (Vogels et al. 2019, Algorithm 1), multiplied."""
    p, _ = np.linalg.qr(matrix @ draw)
    return p @ (matrix.T @ p).T


def error_feedback(x, batches, cohorts, gradient, eta, encoded):
    """FedAvg with error feedback (Karimireddy et al. 2019, Algorithm 2).

    Args:
      x: [size], initial server model.
      batches: Those of each client's local steps.
      cohorts: Clients that take part, round by round.
      gradient: (model, batch) -> [size].
      eta: Learning rate of clients.
      encoded: What the server has of a vector that is sent.

    Returns:
      (x, every e_k).
    """
    errors = [np.zeros_like(x) for _ in batches]
    for cohort in cohorts:
        received = []
        for k in cohort:
            y = x.copy()
            for batch in batches[k]:
                y = y - eta * gradient(y, batch)
            p = (x - y) + errors[k]  # p_k = u_k + e_k
            received.append(encoded(p))  # Delta_k = C(p_k)
            errors[k] = p - received[-1]  # e_k = p_k - Delta_k
        if cohort:
            x = x - np.mean(received, axis=0)
    return x, errors
