"""The slow truth: HashedNets in plain loops, from the paper and the XXH32 specification.

Imports nothing of minihash. Arguments are sequences of sequences of numbers; sums are exact for
integers. i is the output unit, j the input unit; a hashed bias is column j = in_features.
"""

from __future__ import annotations

import math
import statistics

import numpy as np

MASK = 2**32 - 1
PRIME2, PRIME3, PRIME4, PRIME5 = 2246822519, 3266489917, 668265263, 374761393


# ------------------------------------------------------------------------------------- the hash


def rotate_left(value, count):
    return ((value << count) | (value >> (32 - count))) & MASK


def xxhash32(i, j, seed):
    """XXH32 of a message shorter than 16 bytes: here i and j, four bytes each, lowest first."""
    message = int(i).to_bytes(4, "little") + int(j).to_bytes(4, "little")
    h = (int(seed) + PRIME5 + len(message)) & MASK
    for start in range(0, len(message), 4):
        lane = int.from_bytes(message[start : start + 4], "little")
        h = (rotate_left((h + lane * PRIME3) & MASK, 17) * PRIME4) & MASK
    h = ((h ^ (h >> 15)) * PRIME2) & MASK
    h = ((h ^ (h >> 13)) * PRIME3) & MASK
    return h ^ (h >> 16)


def layer_seed(position, network_seed):
    return xxhash32(position, 0, network_seed)


# ------------------------------------------------------------------------------------- the map
#
# A map is a function `lookup(i, j)` that returns the bucket h(i, j) and the sign ξ(i, j).


def signed_bucket(hashed, num_buckets, signed=True):
    """Bucket and sign from one draw."""
    if not signed:
        return hashed * num_buckets // 2**32, 1
    s = hashed * 2 * num_buckets // 2**32
    return (s, 1) if s < num_buckets else (s - num_buckets, -1)


def element(seed, num_buckets, signed=True):
    """The paper's map: every position is hashed by itself."""
    return lambda i, j: signed_bucket(xxhash32(i, j, seed), num_buckets, signed)


def tile_places(seed, columns):
    """p(j), as a list over j: columns are sorted by their draws."""
    draws = [xxhash32(MASK, j, seed) for j in range(columns)]
    places = [0] * columns
    for place, j in enumerate(sorted(range(columns), key=lambda j: (draws[j], j))):
        places[j] = place
    return places


def column_sign(seed, j, signed=True):
    """ξ₂(j)."""
    return -1 if signed and xxhash32(MASK, j, seed) % 2 else 1


def tiles(seed, num_buckets, columns, tile, signed=True):
    """A row is made of segments, each of them a tile of the weights that is drawn by a hash.

    With one weight a tile this is the paper's map.
    """
    if tile == 1:
        return element(seed, num_buckets, signed)
    places = tile_places(seed, columns)
    count = -(-num_buckets // tile)

    def lookup(i, j):
        segment, offset = places[j] // tile, places[j] % tile
        drawn, row_sign = signed_bucket(xxhash32(i, segment, seed), count, signed)
        bucket = min(drawn * tile, num_buckets - tile) + offset
        return bucket, row_sign * column_sign(seed, j, signed)

    return lookup


# ------------------------------------------------------------------------------------- dropout


def dropped(inputs, rate, seed, row=0):
    """Unit j of a row is dropped by a hash of the row's number and j; the others make up for it."""
    threshold = min(round(rate * 2**32), MASK)
    kept = []
    for n, a in enumerate(inputs):
        hashes = [xxhash32((row + n) & MASK, j, seed) for j in range(len(a))]
        kept.append([x * 2**32 / (2**32 - threshold) if h >= threshold else 0 for x, h in zip(a, hashes)])
    return np.array(kept).reshape(np.shape(inputs))


# ---------------------------------------------------------------------------- the hashed layer


def virtual_matrix(weight, lookup, out_features, columns):
    """V[i, j] = ξ(i, j) · w[h(i, j)] (eq. 7)."""
    rows = []
    for i in range(out_features):
        row = []
        for j in range(columns):
            bucket, sign = lookup(i, j)
            row.append(sign * float(weight[bucket]))
        rows.append(row)
    return np.array(rows)


def occupancy(lookup, num_buckets, out_features, columns):
    counts = [0] * num_buckets
    for i in range(out_features):
        for j in range(columns):
            counts[lookup(i, j)[0]] += 1
    return counts


def feature_hash(inputs, lookup, num_buckets, i):
    """[φ_i(a)]_k = Σ_{h(i,j)=k} ξ(i, j) · a_j for each row a (eq. 5)."""
    hashed = []
    for row in inputs:
        phi = [0.0] * num_buckets
        for j, a in enumerate(row):
            bucket, sign = lookup(i, j)
            phi[bucket] += sign * float(a)
        hashed.append(phi)
    return np.array(hashed)


def with_bias_column(inputs, bias):
    return [[*map(float, row), 1.0] if bias == "hashed" else [*map(float, row)] for row in inputs]


def hashed_forward(inputs, weight, lookup, out_features, bias="hashed", free=None):
    """z_i = Σ_j ξ(i, j) · w[h(i, j)] · a_j (eq. 8), and the free bias where there is one."""
    outputs = []
    for a in with_bias_column(inputs, bias):
        z = []
        for i in range(out_features):
            total = float(free[i]) if bias == "free" else 0.0
            for j in range(len(a)):
                bucket, sign = lookup(i, j)
                total += sign * float(weight[bucket]) * a[j]
            z.append(total)
        outputs.append(z)
    return np.array(outputs)


def hashed_backward(inputs, weight, lookup, grad_outputs, bias="hashed"):
    """Return grad_inputs, grad_weight (eq. 12: sums over buckets) and the free bias's gradient."""
    grad_inputs = [[0.0] * len(row) for row in inputs]
    grad_weight = [0.0] * len(weight)
    grad_bias = [0.0] * len(grad_outputs[0])
    for n, a in enumerate(with_bias_column(inputs, bias)):
        for i, delta in enumerate(map(float, grad_outputs[n])):
            grad_bias[i] += delta
            for j in range(len(a)):
                bucket, sign = lookup(i, j)
                grad_weight[bucket] += sign * delta * a[j]
                if j < len(inputs[n]):
                    grad_inputs[n][j] += sign * delta * float(weight[bucket])
    return np.array(grad_inputs), np.array(grad_weight), np.array(grad_bias)


# -------------------------------------------------------------------------------- other layers


def linear_forward(inputs, weight, bias):
    """z_i = Σ_j W[i, j] · a_j + b_i."""
    outputs = []
    for a in inputs:
        z = [float(b) for b in bias]
        for i in range(len(weight)):
            for j in range(len(a)):
                z[i] += float(weight[i][j]) * float(a[j])
        outputs.append(z)
    return np.array(outputs)


def linear_backward(inputs, weight, grad_outputs):
    """Return grad_inputs, grad_weight, grad_bias."""
    grad_inputs = [[0.0] * len(row) for row in inputs]
    grad_weight = [[0.0] * len(row) for row in weight]
    grad_bias = [0.0] * len(weight)
    for n, a in enumerate(inputs):
        for i, delta in enumerate(map(float, grad_outputs[n])):
            grad_bias[i] += delta
            for j in range(len(a)):
                grad_weight[i][j] += delta * float(a[j])
                grad_inputs[n][j] += delta * float(weight[i][j])
    return np.array(grad_inputs), np.array(grad_weight), np.array(grad_bias)


def kept_edges(seed, num_weights, in_features, out_features):
    """The inputs that each row of a sparse layer keeps: those with the smallest hashes."""
    kept = []
    for i in range(out_features):
        count = num_weights // out_features + (1 if i < num_weights % out_features else 0)
        ranked = sorted(range(in_features), key=lambda j: xxhash32(i, j, seed))
        kept.append(sorted(ranked[:count]))
    return kept


def sparse_matrix(weight, kept, in_features):
    """W with its zeros, from the weights of the kept edges row after row."""
    values = iter(weight)
    rows = [[0.0] * in_features for _ in kept]
    for i, columns in enumerate(kept):
        for j in columns:
            rows[i][j] = float(next(values))
    return np.array(rows)


def gaussian_factor(seed, rank, in_features):
    """G[r, j]: the Gaussian number whose quantile the hash is, with the variance 1 / in_features."""
    quantile = statistics.NormalDist().inv_cdf
    rows = []
    for r in range(rank):
        draws = [(xxhash32(r, j, seed) + 0.5) / 2**32 for j in range(in_features)]
        rows.append([np.float32(quantile(p) / math.sqrt(in_features)) for p in draws])
    return np.array(rows)


def matrix_product(left, right):
    rows = [[0.0] * len(right[0]) for _ in left]
    for i in range(len(left)):
        for k in range(len(right)):
            for j in range(len(right[0])):
                rows[i][j] += float(left[i][k]) * float(right[k][j])
    return np.array(rows)


def relu(a):
    return a if a > 0 else 0.0


def relu_slope(a):
    return 1.0 if a > 0 else 0.0


def tanh(a):
    return math.tanh(a)


def tanh_slope(a):
    return 1 - math.tanh(a) ** 2


def sigmoid(a):
    return 1 / (1 + math.exp(-a)) if a >= 0 else math.exp(a) / (1 + math.exp(a))


def sigmoid_slope(a):
    return sigmoid(a) * sigmoid(-a)
