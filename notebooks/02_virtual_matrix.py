# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The virtual matrix
#
# *Where are the weights of a layer that stores one number for every 64 of them?*
#
# They are looked up. In a hashed layer (Chen et al., ICML 2015, eq. 7) the entry that connects input $j$
# to output $i$ is
#
# $$ V_{ij} = \xi(i, j)\; w_{h(i, j)} , $$
#
# with a vector $w$ of $K$ stored weights, a hash function $h$ that takes the position $(i, j)$ to a
# bucket of $w$, and a sign $\xi$, also hashed from the position. $V$ is called the *virtual* matrix:
# the layer computes with it, and it is nowhere in memory. In this notebook we make it all the same, to
# look at it. We count who shares a weight with whom, find out what is lost when nothing is compressed at
# all, and compare two ways to choose $h$.

# %%
import hashlib

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import poisson

import minihash
from minihash import figures, plots
from minihash.hashing import feature_hash, occupancy, signed_bucket, xxhash32

plt.rcParams.update({**figures.STYLE, "figure.dpi": 100, "figure.constrained_layout.use": True})

# %% [markdown]
# ## Watch it appear
#
# Take a small layer: 8 inputs, 6 outputs, and 12 stored weights for its 48 virtual ones, so that the
# compression factor is $c = 12/48 = 1/4$. It has no bias yet, `bias="none"` (the default, `"hashed"`,
# makes the biases one more column of $V$: see the first exercise). Both the bucket and the sign come from
# *one* 32-bit hash of $(i, j)$ and the layer's seed. Scaled to the range from 0 to $2K - 1$ it is
#
# $$ s = \lfloor \mathrm{hash}(i, j) \cdot 2K \,/\, 2^{32} \rfloor , \qquad
#    (h, \xi) = \begin{cases} (s, +1) & s < K \\ (s - K, -1) & s \ge K. \end{cases} $$

# %%
layer = minihash.HashedLinear(8, 6, num_buckets=12, bias="none", seed=4)
w, K = layer.weight, layer.num_buckets

V = np.empty((6, 8), np.float32)
for i in range(6):
    for j in range(8):
        s = xxhash32(i, j, layer.seed) * 2 * K >> 32
        V[i, j] = w[s] if s < K else -w[s - K]

assert np.array_equal(V, layer.virtual_weight_matrix())
print(f"{V.size} virtual weights of {len(np.unique(np.abs(V)))} different sizes, from {w.size} stored")

# %% [markdown]
# The two loops are all there is to know: no table of indices was stored, since the hash gives the same
# answer every time. The next figure fills $V$ in one bucket at a time.

# %%
buckets, signs = layer.bucket_map(np.arange(6)[:, None], np.arange(8))
limit = np.abs(w).max()
shades = {"cmap": figures.SHADES, "vmin": -limit, "vmax": limit}

fig, axes = plt.subplot_mosaic([["w"] * 3, [1, 6, 12]], figsize=(7, 2.9), height_ratios=(1, 5))
axes["w"].imshow(w[None], aspect="auto", **shades)
axes["w"].set(yticks=[], xticks=range(12), title="$w$, the 12 stored weights, and their buckets")
for filled in (1, 6, 12):
    ax = axes[filled]
    shown = ax.imshow(np.where(buckets < filled, V, np.nan), **shades)
    for (i, j), k in np.ndenumerate(buckets):
        if k < filled:
            shade = "black" if V[i, j] > 0 else "white"
            name = f"−{k}" if signs[i, j] < 0 else f"{k}"
            ax.text(j, i, name, ha="center", va="center", color=shade, fontsize=7)
    ax.set_title("bucket 0" if filled == 1 else f"buckets 0 to {filled - 1}")
    ax.set(xlabel="input $j$", xticks=range(8), yticks=range(6))
for ax in axes.values():
    ax.grid(False)
axes[1].set_ylabel("output $i$")
fig.colorbar(shown, ax=[axes[n] for n in (1, 6, 12)], label="weight")
plt.show()

# %% [markdown]
# See how one stored weight turns up at several places that have nothing to do with each other, in the
# opposite colour where its sign is reversed: the numbers in the cells are buckets, a minus before them is
# $\xi = -1$. Bucket by bucket the matrix fills, and in the end no cell is empty.
#
# ## More buckets, fewer repetitions
#
# The same hash, scaled to more buckets, gives less sharing. Here is a matrix of 24 × 32 from 4, 24, 96
# and 768 stored weights.

# %%
fig, axes = plt.subplots(1, 4, figsize=(7, 1.9))
for ax, num_buckets in zip(axes, (4, 24, 96, 768)):
    seen = minihash.HashedLinear(32, 24, num_buckets=num_buckets, bias="none", seed=4)
    made = seen.virtual_weight_matrix()
    assert len(np.unique(np.abs(made))) <= num_buckets
    ax.imshow(made, figures.SHADES)
    ax.set_title(f"$K$ = {num_buckets}, rank {np.linalg.matrix_rank(made)}", fontsize=9)
    ax.set_axis_off()
    assert np.linalg.matrix_rank(made) == 24
plt.show()

# %% [markdown]
# Each picture has its own scale of shades. See that only the first looks poor, made of four weights and
# their negatives (they look like three shades, since three of the weights are of nearly one size);
# already at 24, each used about 32 times, the eye finds no repetition. The titles say something that the
# eye cannot see: even the matrix made of four numbers has full rank, 24. A low-rank factorisation of the
# same storage could not have it: a factorisation of rank $r$ stores $r \cdot (24 + 32)$ numbers, so 96
# numbers buy rank 1. Hashing keeps all directions and ties their coefficients together instead.

# %% [markdown]
# ## On an image
#
# For inputs that are images, row $i$ of $V$ can be painted on the image: pixel by pixel, the bucket that
# unit $i$ uses there. To see anything, we take very few buckets, 12 for a layer of 784 inputs, and leave
# out the signs (`signed=False`, Chen et al., eq. 3; with signs `plots.bucket_map` marks the negative ones
# with dots).

# %%
painted = minihash.HashedLinear(784, 3, num_buckets=12, signed=False, bias="none", seed=1)
figure = plots.bucket_map(painted, [0, 1, 2], (28, 28))
figure.set_dpi(100)
figure

# %% [markdown]
# A shade is a bucket. See two things: neighbouring pixels have nothing in common, and neither have the
# three units. The map knows nothing of images; it is noise that can be repeated.
#
# Now a layer of a real size, 784 inputs and 1,000 units at $c = 1/64$. A single stored weight serves
# about 64 of its 784,000 connections. Here are all of those that share bucket 0.

# %%
layer = minihash.HashedLinear(784, 1000, compression=1 / 64, bias="none", seed=1)
buckets, signs = layer.bucket_map(np.arange(1000)[:, None], np.arange(784))
units, pixels = np.nonzero(buckets == 0)
sign = signs[units, pixels]
print(f"{layer.num_buckets} buckets; bucket 0 serves {len(units)} connections of {len(set(units))} units")

image = minihash.datasets.load("mnist-small").train[0][0].reshape(28, 28)
fig, axes = plt.subplots(1, 2, figsize=(7, 2.9), width_ratios=(1, 1.7))
axes[0].imshow(image, cmap="Greys", alpha=0.35)
axes[0].set(title="on the input", xticks=[], yticks=[])
axes[1].set(title="in the virtual matrix", xlabel="input $j$", ylabel="output $i$", ylim=(1000, 0))
for value, marker, color in ((1, "o", figures.COLORS[0]), (-1, "x", figures.COLORS[1])):
    i, j = units[sign == value], pixels[sign == value]
    axes[0].plot(j % 28, j // 28, marker, color=color, markersize=5)
    axes[1].plot(j, i, marker, color=color, markersize=5, label=f"sign {value:+d}")
axes[0].grid(False)
fig.legend(loc="outside lower center", ncols=2)
plt.show()

# %% [markdown]
# See that one number is at work all over the image (left, with a digit behind it for scale) and all over
# the units (right), about half of the time with its sign reversed. When it is trained, all these
# connections pull at it at once; the next notebook shows how their wishes are added up.
#
# ## How many share a bucket?
#
# Each of the $N$ virtual weights falls into one of $K$ buckets as if at random, so the number in a
# bucket should be Poisson-distributed with mean $\lambda = N / K = 1 / c$. `occupancy` counts them; let
# us compare, for a layer of 784 × 500 at three compression factors.

# %%
counts = {}
for compression in (1 / 64, 1 / 8, 1):
    counted = minihash.HashedLinear(784, 500, compression=compression, bias="none", seed=2)
    counts[compression] = occupancy(counted.bucket_map, 500, 784)

fig, axes = plt.subplots(1, 3, figsize=(7, 2.6))
for ax, (compression, count) in zip(axes, counts.items()):
    mean = 1 / compression
    sizes = np.arange(count.max() + 1)
    width = 1 if mean > 10 else 0.8
    ax.bar(sizes, np.bincount(count) / len(count), width, color=figures.COLORS[5], label="counted")
    line = {"color": "black", "markersize": 4, "linewidth": 0.8}
    ax.plot(sizes, poisson.pmf(sizes, mean), ".-", **line, label="Poisson")
    ax.set(title=f"$c$ = 1/{mean:g}" if mean > 1 else "$c$ = 1", xlabel="weights in a bucket")
    ax.xaxis.get_major_locator().set_params(integer=True)
axes[0].set_ylabel("fraction of buckets")
axes[2].legend()
plt.show()

for compression, count in counts.items():
    assert count.sum() == 784 * 500  # every virtual weight is in one bucket
    assert abs(count.var() * compression - 1) < 0.1  # a Poisson variance is its mean
    errors = np.bincount(count) / len(count) - poisson.pmf(np.arange(count.max() + 1), 1 / compression)
    assert np.abs(errors).max() < 0.01
print(f"at 1/64 the buckets hold {counts[1 / 64].min()} to {counts[1 / 64].max()} weights")

# %% [markdown]
# See that bars and curve agree without any fitting, and up to chance, which lets one bar of so many stand
# out (65 at 1/64): the hash is as good as chance. At 1/64 most buckets are of similar size, 64 give or
# take 8. At $c = 1$, on the right, something is odd.
#
# ## What is lost at compression 1
#
# A layer with as many stored weights as virtual ones compresses nothing. One would expect the dense
# layer, with its weights in another order. But the right-hand histogram has its highest bars at 0 and 1:
# hashing does not deal out weights like cards, one each. It throws them, and some buckets are missed. A
# given bucket is missed by all $N$ throws with probability
#
# $$ \Big(1 - \frac1K\Big)^N \approx e^{-N/K} = e^{-1/c} , $$
#
# so the fraction of buckets in use is $1 - e^{-1/c}$: at $c = 1$ it is $1 - 1/e \approx 63\,\%$. The
# other 37 % are stored, and nobody ever reads them.

# %%
used = np.mean(counts[1] > 0)
print(f"in use at compression 1: {used:.4f}; 1 - 1/e = {1 - np.exp(-1):.4f}")
assert abs(used - (1 - np.exp(-1))) < 0.003

# %% [markdown]
# So the layer has 63 % of the dense layer's freedom, for 100 % of its memory. The next figure shows both
# for all compression factors.

# %%
factors = 2.0 ** -np.arange(0, 8)
in_use = []
for compression in factors:
    counted = minihash.HashedLinear(300, 200, compression=compression, bias="none", seed=3)
    in_use.append(np.mean(occupancy(counted.bucket_map, 200, 300) > 0))
grid = np.logspace(0, np.log2(factors[-1]), 100, base=2)

fig, ax = plt.subplots(figsize=(7, 3))
ax.plot(grid, 1 - np.exp(-1 / grid), color=figures.COLORS[0], label="of the stored weights, in use")
ax.plot(factors, in_use, "o", color=figures.COLORS[0])
free = grid * (1 - np.exp(-1 / grid))
ax.plot(grid, free, "--", color=figures.COLORS[1], label="free numbers per virtual weight")
ax.plot(factors, factors * in_use, "s", color=figures.COLORS[1])
ax.plot(grid, grid, ":", color="black", label="the same, if no bucket were missed")
ax.set_xscale("log", base=2)
ax.set_xticks(factors, ["1"] + [f"1/{1 / factor:g}" for factor in factors[1:]])
ax.invert_xaxis()
ax.set(xlabel="compression factor $c$", ylabel="fraction", ylim=(0, 1.05))
ax.legend(loc="center right")
plt.show()

assert np.allclose(in_use, 1 - np.exp(-1 / factors), atol=0.01)

# %% [markdown]
# See that the loss is a matter of mild compression only: at 1/2 there are 14 % of the buckets unused, at
# 1/4 there are 2 %, and from 1/8 on (0.03 %) the dashed line lies on the dotted one. At the sizes for
# which HashedNets are meant, collisions are the plan and empty buckets do not occur.
#
# ## Another map: tiles
#
# Hashing every position has its price: to find a weight takes longer than to multiply by it. And all the
# multiplications of a dense layer are still there, although most of them are by the same few numbers.
# Can the work shrink with the storage? With the paper's map it cannot: two rows of $V$ use a weight at
# places that have nothing to do with each other.
#
# minihash has a second map, of its own. It cuts $w$ into $T$ *tiles* of $B$ consecutive weights, and the
# inputs, in a hashed order, into $G$ *segments* of $B$. For every row and segment *one* draw chooses a
# tile and a sign. Row $i$ of $V$ is then $G$ tiles side by side:
#
# $$ V_{ij} = \xi_1(i, g)\; \xi_2(j)\; \big(\text{tile } \tau(i, g)\big)_u ,
#    \qquad g = \lfloor p(j) / B \rfloor, \quad u = p(j) \bmod B . $$
#
# Here $p(j)$ is the place of input $j$ in the hashed order. One more hash of $j$ gives $p$ and the sign
# $\xi_2$ of the input, once for all rows. The layer's argument for $B$ is `tile`; with `tile=1` every
# weight is a tile and every input a segment, and the map is the paper's.
#
# Take 6 inputs, 5 outputs, and 6 stored weights in two tiles of 3.

# %%
small = minihash.HashedLinear(6, 5, num_buckets=6, tile=3, bias="none", seed=16)
small.weight[:] = [1, -2, 3, 2, 1, -1]
tiles = small.weight.reshape(2, 3)
places, xi_2 = small.bucket_map.places, small.bucket_map.signs

tau, xi_1 = np.empty((5, 2), int), np.empty((5, 2), int)
for i in range(5):
    for g in range(2):
        s = xxhash32(i, g, small.seed) * 2 * 2 >> 32  # as before, with T = 2 in the place of K
        tau[i, g], xi_1[i, g] = (s, 1) if s < 2 else (s - 2, -1)

segments, offsets = places // 3, places % 3
V = xi_1[:, segments] * xi_2 * tiles[tau[:, segments], offsets]
assert np.array_equal(V, small.virtual_weight_matrix())
print("places p:", places, "  signs xi_2:", xi_2)
print("tiles drawn, with their signs:")
for row in zip(tau, xi_1):
    print("  ", "  ".join(f"{'−' if sign < 0 else '+'}{tile}" for tile, sign in zip(*row)))

# %% [markdown]
# On the left is $V$, on the right the same with its columns in the hashed order and without $\xi_2$.

# %%
order = np.argsort(places)
fig, axes = plt.subplots(1, 2, figsize=(7, 2.7), sharey=True)
shown = {"$V$": (V, range(6)), "its tiles": ((V * xi_2)[:, order], order)}
for ax, (name, (matrix, columns)) in zip(axes, shown.items()):
    ax.imshow(matrix, figures.SHADES, vmin=-3, vmax=3)
    for (i, column), value in np.ndenumerate(matrix):
        shade = "black" if value > 0 else "white"
        ax.text(column, i, f"{value:+.0f}", ha="center", va="center", color=shade, fontsize=9)
    ax.set(title=name, xlabel="input $j$", yticks=range(5))
    ax.set_xticks(range(6), columns)
    ax.grid(False)
axes[1].axvline(2.5, color=figures.COLORS[1], linewidth=3)
axes[0].set_ylabel("output $i$")
plt.show()

# %% [markdown]
# See that on the right every half row is one of two tiles, (1, −2, 3) or (2, 1, −1), or its negative.
#
# ## Products that rows share
#
# That is what saves work. Take the inputs $a = (2, 1, 1, 3, 1, 2)$. First they are *arranged*: put into
# the hashed order, each with its sign $\xi_2$. The places say that segment 0 holds the inputs 0, 4 and 5,
# and segment 1 the inputs 1, 3 and 2:
#
# $$ a' = (-2, -1, 2 \mid 1, -3, 1) . $$
#
# What can a tile contribute to a segment? There are two tiles and two segments, so there are four
# products, whatever the number of rows:
#
# | | segment 0: (−2, −1, 2) | segment 1: (1, −3, 1) |
# |---|---|---|
# | **tile 0:** (1, −2, 3) | −2 + 2 + 6 = **6** | 1 + 6 + 3 = **10** |
# | **tile 1:** (2, 1, −1) | −4 − 1 − 2 = **−7** | 2 − 3 − 1 = **−2** |
#
# Every output is a signed sum of entries of this table, one from each column. Row 0 drew $+$tile 1 for
# the first segment and $-$tile 0 for the second: $z_0 = -7 - 10 = -17$. The others are
#
# $$ z_1 = -7 + 10 = 3, \quad z_2 = -6 + 2 = -4, \quad z_3 = -7 + 2 = -5, \quad z_4 = 7 + 2 = 9 . $$

# %%
a = np.array([2, 1, 1, 3, 1, 2], np.float32)
arranged = (xi_2 * a)[order].reshape(2, 3)
P = tiles @ arranged.T
z = [xi_1[i, 0] * P[tau[i, 0], 0] + xi_1[i, 1] * P[tau[i, 1], 1] for i in range(5)]

assert arranged.tolist() == [[-2, -1, 2], [1, -3, 1]]
assert P.tolist() == [[6, 10], [-7, -2]]
assert z == [-17, 3, -4, -5, 9] == small.forward(a[None])[0].tolist()
print(f"{tiles.size * 2} multiplications in the place of {V.size}")

# %% [markdown]
# As a picture: a small dense layer, the same one on every segment, and then fixed signed sums. From the
# left to the middle are multiplications, with the weights of a tile; from the middle to the right are
# none, but an addition (solid) or a subtraction (dashed).

# %%
fig, ax = plt.subplots(figsize=(7, 3.4))
box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": "0.5"}
at_segment, at_product = [3.0, 0.9], lambda tile, g: 3.5 - 2.1 * g - 0.95 * tile
for g in range(2):
    text = f"segment {g}:  " + "  ".join(f"{value:+.0f}" for value in arranged[g])
    ax.text(0, at_segment[g], text, ha="center", va="center", bbox=box, zorder=3)
    for tile in range(2):
        place = at_product(tile, g)
        ax.plot([0, 2.2], [at_segment[g], place], color="0.7", linewidth=3)
        ax.text(1.35, (at_segment[g] + 1.6 * place) / 2.6, f"tile {tile}", ha="center", va="center", fontsize=8)
        name = f"$P_{{{tile}{g}}}$ = {P[tile, g]:.0f}"
        ax.text(2.2, place, name, ha="center", va="center", bbox=box, zorder=3)
for i, value in enumerate(z):
    for g in range(2):
        sign, start = xi_1[i, g], at_product(tau[i, g], g)
        color, dash = (figures.COLORS[0], "-") if sign > 0 else (figures.COLORS[1], "--")
        ax.plot([2.2, 4.4], [start, 3.8 - 0.9 * i], color=color, linestyle=dash)
    ax.text(4.4, 3.8 - 0.9 * i, f"$z_{i}$ = {value:.0f}", ha="center", va="center", bbox=box, zorder=3)
ax.set(xlim=(-1.1, 4.9), ylim=(-0.2, 4.2))
ax.set_axis_off()
plt.show()

# %% [markdown]
# Going backward the picture is read from the right to the left. Let $\delta = (1, 2, 1, -1, 3)$ be the
# gradient of the outputs. First every product's gradient $Q$ is summed over the rows that drew it, with
# their signs: no multiplication.
#
# | | segment 0 | segment 1 |
# |---|---|---|
# | **tile 0** | −δ₂ = **−1** | −δ₀ + δ₁ = **1** |
# | **tile 1** | δ₀ + δ₁ + δ₃ − δ₄ = **−1** | −δ₂ − δ₃ − δ₄ = **−3** |
#
# A tile's gradient is a sum over the segments, as eq. 12 is one over the places of a bucket:
#
# $$ \frac{\partial L}{\partial\, \text{tile } 1} = Q_{10}\, a'_0 + Q_{11}\, a'_1
# = -(-2, -1, 2) - 3\, (1, -3, 1) = (-1, 10, -5) , $$
#
# and a segment's gradient is one over the tiles:
#
# $$ \frac{\partial L}{\partial a'_1} = Q_{01}\, \text{tile } 0 + Q_{11}\, \text{tile } 1
# = (1, -2, 3) - 3\, (2, 1, -1) = (-5, -5, 6) . $$

# %%
delta = np.array([1, 2, 1, -1, 3], np.float32)
Q = np.zeros((2, 2))
for i in range(5):
    for g in range(2):
        Q[tau[i, g], g] += xi_1[i, g] * delta[i]
grad_tiles, grad_arranged = Q @ arranged, Q.T @ tiles
grad_a = np.empty(6)
grad_a[order] = grad_arranged.reshape(-1)
grad_a *= xi_2

assert Q.tolist() == [[-1, 1], [-1, -3]]
assert grad_tiles.tolist() == [[3, -2, -1], [-1, 10, -5]]
assert grad_arranged.tolist() == [[-3, 1, -2], [-5, -5, 6]]
small.forward(a[None], training=True)
assert np.array_equal(small.backward(delta[None])[0], grad_a)
assert np.array_equal(small.grads["weight"], grad_tiles.reshape(-1))
print("gradient of the weights:", grad_tiles.reshape(-1), "  of the inputs:", grad_a)

# %% [markdown]
# The table is *one* matrix product, $(T \times B)$ by $(B \times G)$, and costs $T \cdot G \cdot B$
# multiplications. Each output then costs $G - 1$ additions. A dense layer multiplies
# $\text{out} \cdot \text{in}$ times, and $G \cdot B$ is the number of inputs, or a little more. So the
# fraction that is left is about $T / \text{out}$: the fewer tiles, the less work. Going backward two
# products of that size are made with $Q$; `kernels/shared_numpy.py` has both directions in a page of NumPy.
# (The package shares products only where that pays: an addition outside of a matrix product takes as long as
# about 16 multiplications inside, and a layer as small as ours is done without.)
#
# How long should a tile be? Long tiles are few tiles, and few segments a row. `tile="auto"` takes eight
# segments at 1/16 and below, and four above. Here are the multiplications that one row of inputs takes, in
# a layer of 784 × 1,000.

# %%
print("compression     B    G     T   multiplications, of the dense layer's")
for compression in (1 / 8, 1 / 16, 1 / 64, 1 / 256):
    each = minihash.HashedLinear(784, 1000, compression=compression, tile="auto", bias="none")
    lengths = f"{each.tile:5} {each.bucket_map.segments:4} {each.bucket_map.tiles:5}"
    share = each.multiplications / (784 * 1000)
    print(f"{f'1/{1 / compression:.0f}':>11} {lengths} {each.multiplications:17,} {share:10.3f}")
    assert each.multiplications == each.bucket_map.tiles * 784

# %% [markdown]
# From 1/16 on the work falls with the storage. (Where a layer stores very little there are more segments, so
# that no fewer than 16 tiles are left to draw from.) Hashing costs little now: 1,000 rows of eight segments
# draw 8,000 tiles, where the paper's map draws 784,000 weights.
#
# ## On an image, again
#
# Two layers with the same storage, at 1/64 both. For each unit, the bucket of every pixel:

# %%
shape = {"in_features": 784, "out_features": 200, "compression": 1 / 64, "bias": "none", "seed": 1}
layers = {"element": minihash.HashedLinear(**shape), "tiles": minihash.HashedLinear(**shape, tile=98)}
tiled = layers["tiles"].bucket_map
assert (tiled.num_buckets, tiled.segments, tiled.tiles) == (2450, 8, 25)
chosen = {name: each.bucket_map(np.arange(200)[:, None], np.arange(784))[0] for name, each in layers.items()}

fig, axes = plt.subplots(2, 4, figsize=(7, 3.6))
for row, name in zip(axes, layers):
    row[0].set_ylabel(name)
    for i, ax in enumerate(row):
        scale = ax.imshow(chosen[name][i].reshape(28, 28), figures.SHADES, vmin=0, vmax=2449)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        if name == "element":
            ax.set_title(f"unit {i}", fontsize=10)
fig.colorbar(scale, ax=axes, label="bucket", shrink=0.8)
plt.show()

# %% [markdown]
# Both look like noise, and other noise for every unit: the hashed order has scattered the segments over the
# image. But a unit has eight tiles at most, so that its shades are of few kinds. Those of unit 0 are dark, as
# most of its tiles are in the front half of $w$. The counts differ too: how many virtual weights are in each
# bucket?

# %%
fig, axes = plt.subplots(2, 1, figsize=(7, 3), sharex=True, sharey=True)
for ax, (name, each) in zip(axes, layers.items()):
    count = occupancy(each.bucket_map, 200, 784)
    ax.plot(count, color=figures.COLORS[0], linewidth=0.8)
    ax.axhline(count.mean(), color="black", linestyle="--", linewidth=0.8)
    ax.set_title(name, loc="left", fontsize=10)
    print(f"{name:8} mean {count.mean():.1f}, standard deviation {count.std():.1f}")
    assert count.mean() == 64
axes[0].set_ylabel("virtual weights")
axes[1].set_xlabel("bucket")
plt.show()

assert (np.ptp(count.reshape(25, 98), axis=1) == 0).all()  # of tiles: the same within each

# %% [markdown]
# See the steps in the lower figure: the weights of a tile are always used together, so they are used
# equally often. Their numbers spread as those of the element map do.
#
# ## Who shares with whom
#
# The price of tiles shows in pairs of rows. Under the element map two units share the weight of an input
# $j$ with probability $1/K$, independently for each $j$. Under tiles they share all inputs of a segment
# if they drew one tile for it, with probability $1/T$. We count the inputs that pairs of units share:

# %%
pairs = [(i, k) for i in range(200) for k in range(i)]
for name in layers:
    shared = np.array([np.sum(chosen[name][i] == chosen[name][k]) for i, k in pairs])
    numbers, how_many = np.unique(shared, return_counts=True)
    print(f"{name:8} pairs that share", ", ".join(f"{n}: {count}" for n, count in zip(numbers, how_many)))
    chance = 1 / 2450 if name == "element" else 1 / 25
    assert abs(shared.mean() / (784 * chance) - 1) < 0.1

assert set(shared // 98 * 98) == set(shared)  # whole segments

# %% [markdown]
# Under the element map a pair of units shares single inputs; under tiles it shares one segment of the
# eight in a quarter of the cases, and hardly ever more than three. To be each other's copy, two units must
# agree in all eight draws. That is the price, and it is the gain as well: what rows share *at the same
# inputs* need not be computed twice.
#
# ## What the order and the two signs are for
#
# In [the first notebook](01_hashing_trick.ipynb) a sign made the product of two hashed vectors right on
# average. A layer hashes its inputs too: $z_i = w \cdot \varphi_i(a)$ (eq. 6), where $\varphi_i(a)$ adds
# up the inputs that meet the same weight. With tiles two inputs meet if they have the same offset, and
# their two segments drew the same tile. We take the digits three and eight and compare
# $\varphi_i(x) \cdot \varphi_i(y)$ with $x \cdot y$, for 4,000 units, without one or both of the signs,
# and with segments of neighbouring pixels in the place of the hashed order.

# %%
images, labels = minihash.datasets.load("mnist-small").train
x, y = images[labels == 3][0] / 255, images[labels == 8][0] / 255
draws = signed_bucket(xxhash32(np.arange(4000)[:, None], np.arange(8), 1), 25, signed=True)
meet = draws[0][:, :, None] == draws[0][:, None, :]  # unit, segment, segment


def products(order, row_signs, input_signs):
    """Return φ_i(x) · φ_i(y) of each unit."""
    hashed_x, hashed_y = ((input_signs * image)[order].reshape(8, 98) for image in (x, y))
    signs = row_signs[:, :, None] * row_signs[:, None, :]
    return np.sum(meet * signs * (hashed_x @ hashed_y.T), axis=(1, 2))


signs_1, signs_2 = {"no": np.ones((4000, 8)), "yes": draws[1]}, {"no": np.ones(784), "yes": tiled.signs}
orders = {"hashed": np.argsort(tiled.places), "neighbours": np.arange(784)}
found = {}
print(f"true product {x @ y:.2f}\n\nsegments    xi_1  xi_2    mean  standard deviation")
for case in [(order, one, two) for order in orders for one in signs_1 for two in signs_2]:
    values = products(orders[case[0]], signs_1[case[1]], signs_2[case[2]])
    found[case] = values.mean() - x @ y, values.std()
    print(f"{case[0]:10}  {case[1]:4}  {case[2]:4}  {values.mean():6.2f}  {values.std():.2f}")

i = 7
assert np.isclose(
    products(orders["hashed"], signs_1["yes"], signs_2["yes"])[i],
    feature_hash(x[None], tiled, i)[0] @ feature_hash(y[None], tiled, i)[0],
)

# %% [markdown]
# Read the first four lines. Without signs the mean is too large, as it was in the first notebook. Of
# $\xi_2$ alone a bias remains that is the same for all units, so that no number of units averages it out.
# $\xi_1$, drawn for every unit, takes the bias away. But alone it leaves a large spread: two segments that
# meet have *one* sign for all their 98 pairs of pixels. With $\xi_2$ the pairs have signs of their own, and
# cancel. The last line is for the order: segments of neighbouring pixels hold much ink or none, and where
# two with much of it meet, the error is large. So the spread is larger than with the hashed order.

# %%
error_of_mean = {case: spread / np.sqrt(4000) for case, (_, spread) in found.items()}
both, no_order = ("hashed", "yes", "yes"), ("neighbours", "yes", "yes")
assert abs(found[both][0]) < 4 * error_of_mean[both]
assert abs(found["hashed", "no", "no"][0]) > 20 * error_of_mean["hashed", "no", "no"]
assert abs(found["hashed", "no", "yes"][0]) > 4 * error_of_mean["hashed", "no", "yes"]
assert found["hashed", "yes", "no"][1] > 2 * found[both][1]
assert found[no_order][1] > 1.3 * found[both][1]

# %% [markdown]
# ## Exercises
#
# Each has a check. Replace `None` by your answer and run the cell.

# %%
DIGESTS = {1: "62e0a1ff", 2: "3d7291c9", 3: "305b7e02"}
TRIALS = {}


def check(number, answer):
    """Say whether an answer is right: a number is compared as a digest, anything else is tried."""
    if answer is None:
        print(f"exercise {number}: no answer yet")
        return
    if number in TRIALS:
        right = TRIALS[number](answer)
    else:
        digest = hashlib.sha256(f"virtual matrix {number}: {float(answer):.6g}".encode()).hexdigest()
        right = digest.startswith(DIGESTS[number])
    print(f"exercise {number}:", "right" if right else "not yet")


# %% [markdown]
# **1.** With `bias="hashed"`, the default, the biases are one more column of $V$, fed by the constant
# input 1. How many numbers does a layer of 255 inputs and 400 outputs store at $c = 1/32$?

# %%
check(1, None)

# %% [markdown]
# **2.** At $c = 1$, how many percent of the *virtual* weights share their bucket with at least two others?
# (To the nearest whole number. The right-hand histogram helps: a bucket of size $n$ holds $n$ virtual
# weights.)

# %%
check(2, None)

# %% [markdown]
# **3.** A layer of 512 inputs and 1,024 outputs has no bias and stores 8,192 weights in tiles of 64. How
# many multiplications do shared products take for one input?

# %%
check(3, None)

# %% [markdown]
# **4.** Write `row(layer, i)` that returns row $i$ of $V$ for a layer of tiles. Take the weights of the row
# from `layer.weight` by slices, one a segment. Where $K$ is no multiple of $B$, the last tile begins at
# $K - B$; the last segment may be short. `layer.bucket_map` has `places`, `signs`, `segments` and `tiles`.


# %%
def try_row(row):
    tried = minihash.HashedLinear(50, 40, num_buckets=90, tile=12, bias="none", seed=8)
    return all(np.array_equal(row(tried, i), V_i) for i, V_i in enumerate(tried.virtual_weight_matrix()))


TRIALS[4] = try_row
check(4, None)

# %% [markdown]
# **5.** Find two units of `layers["tiles"]` that share three segments or more, signs and all: give them as
# a pair `(i, k)`.


# %%
def try_pair(pair):
    i, k = map(int, pair)
    rows = layers["tiles"].virtual_weight_matrix()
    return 0 <= i != k >= 0 and np.sum(rows[i] == rows[k]) >= 3 * 98


TRIALS[5] = try_pair
check(5, None)
