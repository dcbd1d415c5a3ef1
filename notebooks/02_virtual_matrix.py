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
from minihash.hashing import occupancy, xxhash32

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
# ## Another map: windows
#
# Hashing every position has its price: to find a weight takes longer than to multiply by it, and only a
# large batch spreads that over many multiplications. The paper's map, called `"element"` in minihash, is
# not the only choice. minihash has a second one, `"window"`, of its own: row $i$ of $V$ is a stretch of
# consecutive weights that starts at a hashed place $r(i)$ and wraps around at the end of $w$,
#
# $$ h(i, j) = (r(i) + t(j)) \bmod K , \qquad \xi(i, j) = \xi_1(i)\, \xi_2(j) . $$
#
# With the longest window, $t(j) = j$. With a shorter one, of $S$ weights, the columns are first put into
# a hashed order and then dealt out to the $S$ places: several inputs are added up, each with its sign,
# and share a weight *in all rows*. Then the layer does $S$ multiplications for an output instead of 784.

# %%
shape = {"in_features": 784, "out_features": 200, "compression": 1 / 64, "bias": "none", "seed": 1}
layers = {
    "element": minihash.HashedLinear(**shape),
    "window": minihash.HashedLinear(**shape, map="window"),
    "window,\n$S$ = 196": minihash.HashedLinear(**shape, map="window", window=196),
}
fig, axes = plt.subplots(4, 4, figsize=(7, 5.8))
for row, name in zip(axes, [*layers, "the same,\nown shades"]):
    each = layers.get(name, layers["window,\n$S$ = 196"])
    limits = {"vmin": 0, "vmax": each.num_buckets - 1} if name in layers else {}
    row[0].set_ylabel(name)
    for i, ax in zip((0, 1, 2, 4), row):
        chosen, _ = each.bucket_map(i, np.arange(784))
        shown = ax.imshow(chosen.reshape(28, 28), figures.SHADES, **limits)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        if name == "element":
            ax.set_title(f"unit {i}", fontsize=10)
    if name in layers:
        scale = shown
fig.colorbar(scale, ax=axes[:3], label="bucket", shrink=0.6)
plt.show()

# %% [markdown]
# See the difference of the first three rows. The element map (top) is noise, and other noise for each
# unit. The window (second) runs evenly through a third of the 2,450 weights, from another start for each
# unit; unit 4 comes to the end of $w$ and goes on at its beginning. The folded window (third) looks like
# noise again, but its shades cover a narrow range, 196 weights. And it is the *same* noise for every unit,
# shifted in bucket number: in the last row, where each panel's shades go from its own lowest bucket to its
# highest, all units are alike. All three layers store the same number of weights.

# %%
for each in layers.values():
    chosen, _ = each.bucket_map(np.arange(200)[:, None], np.arange(784))
    assert each.num_buckets == 2450
    if each.map == "window":
        assert len(np.unique(chosen[0])) == each.window
        shifts = (chosen[1] - chosen[0]) % 2450
        assert np.all(shifts == shifts[0])  # one row is the other, shifted

# %% [markdown]
# Smooth gradients on an image look dangerous, and without the sign $\xi_2(j)$ of every input they would
# be. Two units whose windows start 28 weights apart read the same pattern of weights, one pixel row
# further down; an image looks much the same one row further down; so the two units say nearly the same.
# The signs, which stay with the inputs and do not move with the window, undo this. Let us measure how
# the outputs of such units correlate over 500 digits (mean absolute values). A layer of 200 units has
# some fifteen such pairs, so we take 15 seeds.

# %%
digits = minihash.datasets.load("mnist-small").train[0][:500] / np.float32(255)
correlations = {}
for signed in (False, True):
    near, far = [], []
    for seed in range(1, 16):
        each = minihash.HashedLinear(**{**shape, "seed": seed}, map="window", signed=signed)
        starts, _ = each.bucket_map(np.arange(200), 0)
        apart = np.triu(np.abs(starts[:, None].astype(int) - starts))  # every pair once
        correlation = np.abs(np.corrcoef(each.forward(digits).T))
        near.extend(correlation[apart == 28])
        far.extend(correlation[(apart >= 784) & (apart <= 2450 - 784)])  # their windows share nothing
    correlations[signed] = np.mean(near)
    print(f"signed = {signed!s:5}: {len(near)} pairs 28 apart {np.mean(near):.2f},", end=" ")
    print(f"{len(far):,} far apart {np.mean(far):.2f}")

assert correlations[False] > 0.6 and correlations[True] < 0.18

# %% [markdown]
# With signs, units 28 apart are as independent as any other two.
#
# How evenly do the maps use the weights? Both read each weight about $N / K = 64$ times.

# %%
fig, axes = plt.subplots(3, 1, figsize=(7, 4.2), sharex=True, sharey=True)
for ax, (name, each) in zip(axes, layers.items()):
    count = occupancy(each.bucket_map, 200, 784)
    ax.plot(count, color=figures.COLORS[0], linewidth=0.8)
    ax.axhline(count.mean(), color="black", linestyle="--", linewidth=0.8)
    ax.set_title(name.replace("\n", " "), loc="left", fontsize=10)
    print(f"{each.map:8} S = {each.window}: mean {count.mean():.1f}, standard deviation {count.std():.1f}")
axes[1].set_ylabel("virtual weights in a bucket")
axes[2].set_xlabel("bucket")
plt.show()

# %% [markdown]
# See that the counts of the element map jump about from bucket to bucket, while those of windows drift:
# neighbouring weights are read by nearly the same rows. The spread is smaller for the full window, of
# which every row covers a third of all weights, and larger for the folded one, of which a row that
# covers a weight reads it four times: four inputs share the place.
#
# ## Who shares with whom
#
# The price of windows shows in pairs of rows. Under the element map two units share the weight of an
# input $j$ with probability $1/K$, independently for each $j$. Under a window they share *all* inputs if
# they start at the same place, and none otherwise. (Windows that overlap do share weights, but each
# weight at different inputs.) On average over pairs and seeds this is the same, 784 / 2450 inputs, but
# the one has it in small change and the other in a few large coins. Count the pairs of the two layers
# above, by how many inputs they share:

# %%
pairs = [(i, k) for i in range(200) for k in range(i)]
shared = {}
for name in ("element", "window"):
    chosen, _ = layers[name].bucket_map(np.arange(200)[:, None], np.arange(784))
    shared[name] = np.array([np.sum(chosen[i] == chosen[k]) for i, k in pairs])
    numbers, how_many = np.unique(shared[name], return_counts=True)
    print(f"{name:8} pairs that share", ", ".join(f"{n}: {count}" for n, count in zip(numbers, how_many)))


print(f"pairs expected to start at one place: {len(pairs) / 2450:.1f}")
assert abs(shared["element"].mean() - 784 / 2450) < 0.02
assert set(shared["window"]) == {0, 784}
assert abs(np.sum(shared["window"] == 784) - len(pairs) / 2450) < 3 * np.sqrt(len(pairs) / 2450)

# %% [markdown]
# The few pairs of units with one start are each other's copy, or negative, in all their weights for
# ever. Of two copies one is lost to the layer; a negative is not, where a ReLU follows, which passes what
# the other unit cuts off. A hidden layer of a thousand units on 784 inputs at 1/64 has about forty such
# pairs, half of them copies and half negatives, and measured error does not suffer
# ([the trade](../benchmarks/trade.md) has the numbers). Among ten outputs a copy would make two classes
# the same, so that `minihash.mlp` draws another seed for a last layer where it happens; a negative would
# make them exact opposites, which training can tell apart, and is left.
#
# What is gained? Nothing is hashed for a weight any more: one draw a row and one a column are enough.

# %%
for name, each in layers.items():
    draws = 200 * 784 if each.map == "element" else 200 + 784
    products = 200 * (each.window or 784)
    print(f"{each.map:8} S = {each.window}: {draws:7,} hashes, {products:7,} multiplications an input vector")

# %% [markdown]
# ## Exercises
#
# Each has a check. Replace `None` by your answer and run the cell.

# %%
DIGESTS = {1: "62e0a1ff", 2: "3d7291c9"}
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
# **3.** Write `row(layer, i)` that returns row $i$ of $V$ for a layer with the full window map. Take the
# weights of the row by at most two slices of `layer.weight`; ask `layer.bucket_map(i, j)` for buckets
# and signs. It returns arrays even for two scalars, of shape (1,); use `.item()`.


# %%
def try_row(row):
    tried = minihash.HashedLinear(50, 40, num_buckets=90, map="window", bias="none", seed=8)
    return all(np.array_equal(row(tried, i), V_i) for i, V_i in enumerate(tried.virtual_weight_matrix()))


TRIALS[3] = try_row
check(3, None)

# %% [markdown]
# **4.** Find two units of `layers["window"]` that are copies of each other up to the sign, and give them
# as a pair `(i, k)`.


# %%
def try_pair(pair):
    i, k = map(int, pair)
    rows = layers["window"].virtual_weight_matrix()
    return 0 <= i != k >= 0 and (np.array_equal(rows[i], rows[k]) or np.array_equal(rows[i], -rows[k]))


TRIALS[4] = try_pair
check(4, None)
