"""The slow truth: HashedNets in plain loops, from the paper and the XXH32 specification.

Imports nothing of minihash. Arguments are sequences of sequences of numbers; sums are exact for
integers. i is the output unit, j the input unit; a hashed bias is column j = in_features.
"""

from __future__ import annotations

import math

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


def slot(i, j, seed, size):
    """The hash scaled to 0 … size − 1."""
    return xxhash32(i, j, seed) * int(size) // 2**32


def bucket_and_sign(i, j, seed, num_buckets, signed=True):
    """h(i, j) and ξ(i, j)."""
    if not signed:
        return slot(i, j, seed, num_buckets), 1
    s = slot(i, j, seed, 2 * num_buckets)
    return (s, 1) if s < num_buckets else (s - num_buckets, -1)


# ---------------------------------------------------------------------------- the hashed layer


def virtual_matrix(weight, seed, out_features, columns, signed=True):
    """V[i, j] = ξ(i, j) · w[h(i, j)] (eq. 7)."""
    rows = []
    for i in range(out_features):
        row = []
        for j in range(columns):
            bucket, sign = bucket_and_sign(i, j, seed, len(weight), signed)
            row.append(sign * float(weight[bucket]))
        rows.append(row)
    return np.array(rows)


def occupancy(seed, num_buckets, out_features, columns, signed=True):
    counts = [0] * num_buckets
    for i in range(out_features):
        for j in range(columns):
            counts[bucket_and_sign(i, j, seed, num_buckets, signed)[0]] += 1
    return counts


def feature_hash(inputs, seed, num_buckets, i, signed=True):
    """[φ_i(a)]_k = Σ_{h(i,j)=k} ξ(i, j) · a_j for each row a (eq. 5)."""
    hashed = []
    for row in inputs:
        phi = [0.0] * num_buckets
        for j, a in enumerate(row):
            bucket, sign = bucket_and_sign(i, j, seed, num_buckets, signed)
            phi[bucket] += sign * float(a)
        hashed.append(phi)
    return np.array(hashed)


def with_bias_column(inputs, bias):
    return [[*map(float, row), 1.0] if bias == "hashed" else [*map(float, row)] for row in inputs]


def hashed_forward(inputs, weight, seed, out_features, signed=True, bias="hashed", free=None):
    """z_i = Σ_j ξ(i, j) · w[h(i, j)] · a_j (eq. 8), and the free bias where there is one."""
    outputs = []
    for a in with_bias_column(inputs, bias):
        z = []
        for i in range(out_features):
            total = float(free[i]) if bias == "free" else 0.0
            for j in range(len(a)):
                bucket, sign = bucket_and_sign(i, j, seed, len(weight), signed)
                total += sign * float(weight[bucket]) * a[j]
            z.append(total)
        outputs.append(z)
    return np.array(outputs)


def hashed_backward(inputs, weight, seed, grad_outputs, signed=True, bias="hashed"):
    """Return grad_inputs, grad_weight (eq. 12: sums over buckets) and the free bias's gradient."""
    grad_inputs = [[0.0] * len(row) for row in inputs]
    grad_weight = [0.0] * len(weight)
    grad_bias = [0.0] * len(grad_outputs[0])
    for n, a in enumerate(with_bias_column(inputs, bias)):
        for i, delta in enumerate(map(float, grad_outputs[n])):
            grad_bias[i] += delta
            for j in range(len(a)):
                bucket, sign = bucket_and_sign(i, j, seed, len(weight), signed)
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
