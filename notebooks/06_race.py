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
# # Race
#
# *A hashed layer does all the multiplications of a dense one, and hashes besides. Must it be slower?*
#
# Written down as in the paper it is slower, by a factor of tens of thousands. This notebook starts there and
# removes one cause after the other: first in plain NumPy, then with panels and compiled kernels, at last
# with another map. Every version is held to an earlier one, in its outputs and its gradients, and raced.
#
# A word on times. They depend on the machine and on what else runs there, so none is promised. What carries
# over are ratios of versions that took turns in the same run, and those are what to look at. Everything
# here runs on one thread, and we count processor time, which runs on only while the notebook does: so a
# busy machine disturbs less.

# %%
import os
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import minihash
from minihash import figures, plots
from minihash.hashing import xxhash32
from minihash.kernels import numpy_cpu, threads

sys.path.insert(0, "..")  # what times fairly is in the checkout, and not in the package
from benchmarks.speed import timing  # noqa: E402
from benchmarks.speed.breakdown import breakdown  # noqa: E402
from benchmarks.speed.timing import Samples  # noqa: E402

FAST = bool(os.environ.get("MINIHASH_FAST"))
BUDGET = 0.5 if FAST else 4.0  # seconds for a comparison, at least seven rounds
plt.rcParams.update({**figures.STYLE, "figure.dpi": 90, "figure.constrained_layout.use": True})

threads.set_num_threads(1)
one_thread = threadpool_limits(1)


class Clock:
    """Seconds that this process has computed, whatever else the machine did meanwhile."""

    perf_counter, sleep = time.process_time, time.sleep


timing.time, timing.PAUSE = Clock, 0  # a pause is for the threads of others, and there are none

# %% [markdown]
# ## The task
#
# One step of a layer: from inputs $a$ to outputs $z$ (eq. 8), and from the gradient $\delta$ of the outputs
# back to those of the inputs and of the weights (eqs. 9 to 12):
#
# $$ z = a V^\top, \qquad \frac{\partial L}{\partial a} = \delta V, \qquad
#    \frac{\partial L}{\partial w_k} = \sum_{h(i,j) = k} \xi(i,j)\, [\delta^\top a]_{ij} . $$
#
# The layer has 784 inputs and 1,000 outputs, 1/64 as many weights, and a batch of 64.

# %%
IN, OUT, BATCH = 784, 1000, 64
K, SEED = IN * OUT // 64, 2015

rng = np.random.default_rng(0)
weight = rng.normal(size=K).astype(np.float32)
a = rng.normal(size=(BATCH, IN)).astype(np.float32)
delta = rng.normal(size=(BATCH, OUT)).astype(np.float32)

print(f"{IN * OUT:,} virtual weights, {K:,} stored, {3 * BATCH * IN * OUT:,} multiplications a step")

# %% [markdown]
# ## Naive: one weight at a time
#
# The definition, as loops. For each position: hash it, take bucket and sign, look the weight up, and let
# every input of the batch use it. At about a microsecond for the smallest thing that Python does, the whole
# matrix would keep us waiting. We take the first five outputs and multiply the time by 200, which is fair,
# as outputs cost the same.


# %%
def naive(rows):
    z, grad_a, grad_weight = np.zeros((BATCH, rows)), np.zeros((BATCH, IN)), np.zeros(K)
    for i in range(rows):
        for j in range(IN):
            hashed = xxhash32(i, j, SEED)
            slot = hashed * 2 * K >> 32
            bucket, sign = (slot, 1) if slot < K else (slot - K, -1)
            v, grad_v = sign * weight[bucket], 0.0
            for n in range(BATCH):
                z[n, i] += v * a[n, j]
                grad_a[n, j] += v * delta[n, i]
                grad_v += delta[n, i] * a[n, j]
            grad_weight[bucket] += sign * grad_v
    return z, grad_a, grad_weight


ROWS = 2 if FAST else 5
start = time.process_time()
truth = naive(ROWS)
naive_seconds = (time.process_time() - start) * OUT / ROWS
print(f"all {OUT} outputs would take {naive_seconds:.0f} s")

# %% [markdown]
# ## NumPy: all weights at once
#
# The loops belong in compiled code, and NumPy's operations are such code. The whole matrix is hashed and
# looked up in one expression each, and the three products go to BLAS, a library that is as good at products
# as people have been able to make one in forty years.
#
# There is a trap here which most public implementations of HashedNets have stepped into: as the hash never
# changes, one can compute all buckets and signs once and store them.


# %%
def hash_all():
    return minihash.maps.BucketMap(K, SEED, IN)(np.arange(OUT)[:, None], np.arange(IN))


def whole(buckets, signs):
    V, grad_z = weight[buckets] * signs, delta[:, : len(buckets)]
    z, grad_a = a @ V.T, grad_z @ V
    grad_V = (grad_z.T @ a) * signs
    return z, grad_a, np.bincount(buckets.ravel(), grad_V.ravel(), K)


stored = hash_all()  # for the version that keeps them


def stored_index():
    return whole(*stored)


def hashed_anew():
    return whole(*hash_all())


def agree(found, wanted):
    return all(np.allclose(f, w, rtol=1e-3, atol=1e-2) for f, w in zip(found, wanted))


assert agree(whole(stored[0][:ROWS], stored[1][:ROWS]), truth)  # the loops took the first outputs only
assert agree(hashed_anew(), stored_index())

# %% [markdown]
# How much memory does each hold between two steps, and how much while it works? The weights are $4K$ bytes.
# The stored index is eight bytes of bucket and one of sign for each of the 784,000 positions, so that a
# layer compressed to 1/64 is twice as large as the dense one.

# %%
held = {"weights": weight.nbytes, "dense layer": 4 * IN * OUT, "stored index": sum(x.nbytes for x in stored)}
for name, size in held.items():
    print(f"{name:14}{size:10,} bytes")
assert held["stored index"] > 2 * held["dense layer"] > 100 * held["weights"]

# %% [markdown]
# To store an index is to give up what the hash was for. `hashed_anew` keeps nothing but the weights, yet it
# makes all of $V$ in each step, with temporaries of the same size. Hence the next idea.
#
# ## Panels
#
# $V$ is never needed whole. Cut it into *panels* of some rows each; a panel is hashed, looked up,
# multiplied, and forgotten. It is small enough to stay in the processor's cache, and the memory for it does
# not grow with the layer. Three kernels do all that is no product: `locate` hashes (position to slot: bucket
# and sign), `expand` looks up (eq. 7), and `aggregate` adds up (eq. 12). `SPAN` says that a slot holds a
# single weight; in the other map, which comes last, it holds a tile of them.

# %%
SPAN = (1, 0)


def panels(kernels, key=(SEED, K, True), height=250):
    z, grad_a, grad_weight = np.empty((BATCH, OUT), np.float32), np.zeros_like(a), np.zeros_like(weight)
    slots, panel = np.empty((height, IN), np.uint32), np.empty((height, IN), np.float32)
    for top in range(0, OUT, height):
        rows = slice(top, top + height)
        kernels.locate(key, (top, 0), slots)
        kernels.expand(weight, slots, SPAN, panel)
        z[:, rows] = a @ panel.T
        grad_a += delta[:, rows] @ panel
        kernels.aggregate(delta[:, rows].T @ a, slots, SPAN, grad_weight)
    return z, grad_a, grad_weight


def panels_numpy():
    return panels(numpy_cpu.KERNELS["element"])


assert agree(panels_numpy(), stored_index())

# %% [markdown]
# ## Compiled kernels
#
# The driver above knows nothing of hashing, so the kernels can be exchanged. `minihash.kernels.numba_cpu`
# has the same three with the same arguments, written as loops and compiled by Numba. Loops are no shame
# there; a NumPy expression like the hash goes through memory a dozen times for a dozen operations, and a
# compiled loop once.

# %%
from minihash.kernels import numba_cpu  # noqa: E402


def panels_compiled():
    return panels(numba_cpu.KERNELS["element"])


assert agree(panels_compiled(), stored_index())

# %% [markdown]
# The layer of the package is this, with care for the size of the panels, the layout of the products and
# threads. One thing it must do twice: between forward and backward lies the rest of the network, so it
# cannot keep a panel from one to the other, and hashes and expands again. Our function gets $\delta$ for
# free and does both at once. The dense layer is the three products alone.

# %%
V = weight[stored[0]] * stored[1]


def dense():
    return a @ V.T, delta @ V, delta.T @ a


def step_of(layer):
    def step():
        z = layer.forward(a, training=True)
        return z, layer.backward(delta), layer.grads["weight"]

    return step


layer = minihash.HashedLinear(IN, OUT, num_buckets=K, seed=SEED, bias="none")
layer.weight[:] = weight
assert agree(step_of(layer)(), stored_index())

# %% [markdown]
# ## The first race
#
# The sides take turns, in a new order every round, so that whatever else the machine does falls on all of
# them. The figure has the median of the rounds, on a logarithmic axis, since a linear one could not show
# them together.

# %%
sides = {
    "NumPy, hashed anew": hashed_anew,
    "NumPy, stored index": stored_index,
    "NumPy, panels": panels_numpy,
    "compiled, panels": panels_compiled,
    "the package": step_of(layer),
    "dense": dense,
}
race = Samples(sides, BUDGET)
milliseconds = {"loops": 1e3 * naive_seconds, **{name: 1e3 * race.median(name) for name in sides}}

fig, axes = plt.subplots(figsize=(7, 2.8))
bars = axes.barh(list(milliseconds), list(milliseconds.values()), color=figures.COLORS[0])
times = [value / milliseconds["dense"] for value in milliseconds.values()]
axes.bar_label(bars, [f"{x:,.0f} × dense" if x > 10 else f"{x:.2f} × dense" for x in times], padding=3)
axes.set(xscale="log", xlabel="milliseconds a step", xlim=(None, 30 * max(milliseconds.values())))
axes.invert_yaxis()
axes.grid(axis="y", visible=False)
plt.show()

assert milliseconds["loops"] > 20 * milliseconds["NumPy, hashed anew"]
assert milliseconds["loops"] > 200 * milliseconds["dense"]
assert race.ratio("NumPy, hashed anew", "compiled, panels").ratio > 1.5
assert race.ratio("NumPy, panels", "compiled, panels").ratio > 1.5
assert race.ratio("NumPy, stored index", "compiled, panels").ratio > 1

# %% [markdown]
# The loops are off by four orders of magnitude; the last bars are within a small factor of the dense layer.
# Panels by themselves save memory and not time: with NumPy's kernels they are no faster than the whole
# matrix. It is the compiled kernels that bring the time down. With them the panels, which hash in every
# step, beat NumPy with a stored index, which does not hash at all. (Compiled loops with a stored index would
# be a little faster still, but by no more than the hash takes, which the next figure shows.)
#
# ## Where the time goes
#
# What is left to gain? The step is made of products, hash, gather (`expand`) and scatter (`aggregate`).
# `breakdown` runs the same step with some kernels doing nothing; each part is what the step takes longer
# with that kernel.

# %%
parts = {"element": breakdown(step_of(layer), BUDGET / 2)}
print("  ".join(f"{part} {value:.2f} ms" for part, value in parts["element"].items()))

# %% [markdown]
# (Parts are differences of times. On a busy machine a thin one may swell or vanish, or even come out a
# little below zero.) Faster kernels could save the last three at most. The products would stay, and they are
# those of a dense layer: the compression to 1/64 has saved none of them.
#
# ## Fewer products
#
# Can the products be fewer, where so few numbers are stored? With the paper's map, which hashes every
# position by itself, no two rows of $V$ have anything in common. The second map of minihash makes rows of
# *tiles* ([the second notebook](02_virtual_matrix.ipynb) has it in small numbers). The inputs are put into a
# hashed order, with a sign each, and cut into $G$ segments of $B$. A row of $V$ has a tile of $B$ weights
# for each segment, and there are only $T = K / B$ different tiles. What a tile contributes to a segment is
# computed once for all rows that drew it:
#
# $$ P_{\tau g} = \text{tile}_\tau \cdot a'_g , \qquad z_i = \sum_g \xi_1(i, g)\, P_{\tau(i, g),\, g} . $$
#
# Going backward, $\delta$ is summed by tile and segment into $Q$, and $Q$ is what is multiplied. So all
# products are by $T$ tiles in the place of $1000$ rows. The kernels are `arrange` (order and sign), `gather`
# and `scatter`, and the transpose of `arrange`. They too are there in NumPy and compiled.

# %%
TILE = 98
tiled = minihash.HashedLinear(IN, OUT, num_buckets=K, seed=SEED, bias="none", tile=TILE)
tiled.weight[:] = weight
tile_map = tiled.bucket_map
T, G = tile_map.tiles, tile_map.segments
print(f"{T} tiles, {G} segments: {tiled.multiplications / layer.multiplications:.3f} of the multiplications")


def draws():
    slots = np.empty((OUT, G), np.uint32)
    numba_cpu.KERNELS["tiles"].locate(tile_map.key, (0, 0), slots)
    return slots


def arrange(kernels):
    arranged = np.empty((TILE, G * BATCH), np.float32)
    kernels.arrange(a, tile_map.places, tile_map.signs, TILE, arranged)
    return arranged


def shared(kernels):
    tiles, slots, arranged = weight.reshape(T, TILE), draws(), arrange(kernels)
    z, Q = np.empty((OUT, BATCH), np.float32), np.empty((T, G, BATCH), np.float32)
    grad_a = np.empty_like(a)

    P = tiles @ arranged  # what each tile contributes to each segment
    kernels.gather(P.reshape(Q.shape), slots, z)
    kernels.scatter(np.ascontiguousarray(delta.T), slots, Q)
    grad_arranged, grad_tiles = tiles.T @ Q.reshape(P.shape), Q.reshape(P.shape) @ arranged.T
    kernels.arrange_back(grad_arranged, tile_map.places, tile_map.signs, TILE, grad_a)
    return z.T, grad_a, grad_tiles.ravel()


def shared_numpy():
    return shared(numpy_cpu)


def shared_compiled():
    return shared(numba_cpu)


by_definition = whole(*tile_map(np.arange(OUT)[:, None], np.arange(IN)))
for version in (shared_numpy, shared_compiled, step_of(tiled)):
    assert agree(version(), by_definition)

# %% [markdown]
# The second race: the hashed layer with the paper's map, tiles in three versions, and the dense products.

# %%
sides = {
    "element": step_of(layer),
    "NumPy, tiles": shared_numpy,
    "compiled, tiles": shared_compiled,
    "tiles": step_of(tiled),
    "dense": dense,
}
race = Samples(sides, BUDGET)

fig, axes = plt.subplots(figsize=(7, 2.3))
middle = [1e3 * race.median(name) for name in sides]
bars = axes.barh(list(sides), middle, color=figures.COLORS[0])
axes.bar_label(bars, [f"{race.ratio(name, 'dense').ratio:.2f} × dense" for name in sides], padding=3)
axes.set(xlabel="milliseconds a step", xlim=(0, 1.25 * max(middle)))
axes.invert_yaxis()
axes.grid(axis="y", visible=False)
plt.show()

assert race.ratio("tiles", "element").ratio < 0.7
assert race.ratio("tiles", "dense").ratio < 1
assert race.ratio("compiled, tiles", "NumPy, tiles").ratio < 1

# %% [markdown]
# With tiles the hashed layer is faster than the dense one, and with the paper's map it is slower. Both store
# the same number of weights. (The package's layer cuts the batch into blocks that threads can share, and
# draws twice, forward and backward; our function does neither.)
#
# An eighth of the multiplications does not make an eighth of the time. Where does it go? We time the pieces
# of `shared` by themselves, and draw them under the parts of the paper's map.

# %%
slots, arranged = draws(), arrange(numba_cpu)
tiles, z = weight.reshape(T, TILE), np.empty((OUT, BATCH), np.float32)
P = tiles @ arranged
Q, grad_a = np.empty((T, G, BATCH), np.float32), np.empty_like(a)


def three_products():
    return tiles @ arranged, tiles.T @ P, P @ arranged.T


def copies():
    arrange(numba_cpu)
    np.ascontiguousarray(delta.T)
    numba_cpu.arrange_back(arranged, tile_map.places, tile_map.signs, TILE, grad_a)


pieces = {
    "products": three_products,
    "hash": draws,
    "gather": lambda: numba_cpu.gather(P.reshape(Q.shape), slots, z),
    "scatter": lambda: numba_cpu.scatter(z, slots, Q),
    "copies": copies,
}
samples = Samples(pieces, BUDGET / 2)
parts["tiles"] = {name: 1e3 * samples.median(name) for name in pieces}
picture = plots.step_times(parts)
picture.set_dpi(90)
picture

# %%
for name, times in parts.items():
    print(f"{name:8}", "  ".join(f"{part} {value:5.2f} ms" for part, value in times.items()))
assert parts["tiles"]["products"] < parts["element"]["products"] / 2

# %% [markdown]
# The products have shrunk most. Hashing is 8,000 draws and hardly to be seen. What is left beside the
# products moves and adds numbers, and multiplies none.
#
# Does the cost follow the multiplications? Their number is $T \cdot G \cdot B$, so it goes with the number of
# tiles. Shorter tiles are more of them, and make more segments a row. All lengths in one race, against the
# dense products:

# %%
layers = {}
for length in (392, 196, 98, 49, 32):
    each = minihash.HashedLinear(IN, OUT, num_buckets=K, seed=SEED, bias="none", tile=length)
    layers[f"{each.bucket_map.segments} segments"] = each
sides = {"element": step_of(layer), **{name: step_of(each) for name, each in layers.items()}, "dense": dense}
race = Samples(sides, BUDGET)
ratios = {name: race.ratio(name, "dense") for name in ("element", *layers)}
work = np.array([each.multiplications / (IN * OUT) for each in layers.values()])

fig, axes = plt.subplots(figsize=(7, 3.2))
middle = np.array([ratios[name].ratio for name in layers])
low, high = np.array([[ratios[name].low, ratios[name].high] for name in layers]).T
style = {"color": figures.COLORS[0], "marker": "o", "markersize": 3, "capsize": 5}
axes.errorbar(work, middle, [middle - low, high - middle], label="tiles", **style)
axes.axhline(ratios["element"].ratio, color=figures.COLORS[1], linestyle="--", label="element")
axes.plot(work, work, color="black", linestyle=":", label="multiplications / dense")
for x, y, name in zip(work, high, layers):
    axes.annotate(name, (x, y), (0, 6), textcoords="offset points", ha="center", fontsize=7)
axes.set(xlabel="multiplications / dense", ylabel="time / dense", ylim=(0, None), xscale="log")
axes.set_xticks(work, [f"{x:.3f}" for x in work])
axes.minorticks_off()
axes.legend(loc="upper left", bbox_to_anchor=(0, 0.9))
plt.show()

for name, each in layers.items():
    print(f"{name:11} of {each.tile:3}: {each.multiplications:7,} multiplications, {ratios[name]} × dense")
assert ratios["2 segments"].ratio < ratios["25 segments"].ratio
assert ratios["8 segments"].ratio < ratios["element"].ratio

# %% [markdown]
# The points are medians, the bars the quartiles of the rounds. Time falls with the multiplications and stays
# above them. On the left there are few, and the copying of inputs and gradients does not shrink with them. On
# the right every output is a sum of 25 products, which `gather` and `scatter` must move. With still shorter
# tiles products are not worth sharing, and the package makes panels of $V$. What long tiles cost in accuracy
# is another question, which a race cannot answer.
#
# ## A roofline
#
# So far the batch was 64. With a single input, as on a device that classifies one image at a time, the
# picture changes, because products are not always bound by arithmetic. A matrix from memory must be read at
# least once, four bytes a weight, and for one input each weight is used in just two operations (a
# multiplication and an addition). The *roofline* says how fast a computation can go that does $I$
# operations for each byte it reads, where $P$ is the rate of arithmetic and $B$ the bandwidth of memory:
#
# $$ \text{rate} \le \min(P,\ I \cdot B) . $$
#
# We measure $P$ and $B$ here and now: $P$ with a large product of matrices, and $B$ with the product of a
# vector and a matrix of 128 MiB, which is hardly more than reading the matrix. The same with a matrix of 1
# MiB, which stays in the cache, gives the bandwidth of the cache.

# %%
SIDE = 4096
large, small = np.ones((8192, SIDE), np.float32), np.ones((64, SIDE), np.float32)
square = rng.normal(size=(1024, 1024)).astype(np.float32)

big = minihash.HashedLinear(SIDE, SIDE, compression=1 / 64, bias="none", tile="auto", seed=1)
big_element = minihash.HashedLinear(SIDE, SIDE, compression=1 / 64, bias="none", seed=1)
big_V = big.virtual_weight_matrix()
one, many = (rng.normal(size=(batch, SIDE)).astype(np.float32) for batch in (1, 64))
assert np.allclose(big.forward(one), one @ big_V.T, atol=1e-2)

sides = {
    "product": lambda: square @ square,
    "memory": lambda: one @ large.T,
    "cache": lambda: one @ small.T,
    "dense, batch 1": lambda: one @ big_V.T,
    "dense, batch 64": lambda: many @ big_V.T,
    "tiles, batch 1": lambda: big.forward(one),
    "tiles, batch 64": lambda: big.forward(many),
    "element, batch 1": lambda: big_element.forward(one),
    "element, batch 64": lambda: big_element.forward(many),
}
roof = Samples(sides, BUDGET)
P = 2 * 1024**3 / roof.median("product") / 1e9
B, B_cache = large.nbytes / roof.median("memory") / 1e9, small.nbytes / roof.median("cache") / 1e9
print(f"arithmetic {P:.0f} Gflop/s, memory {B:.1f} GB/s, cache {B_cache:.0f} GB/s")
print(f"memory feeds the arithmetic from {P / B:.0f} operations a byte on")
assert P > B / 2 and B_cache > B

# %% [markdown]
# Now the layers, 4096 × 4096. The dense matrix has 64 MiB, more than most caches; the hashed layers' weights
# at 1/64 have one. For a batch of $n$ the dense layer does $2n$ operations for each four bytes, and reads
# them from memory. The element map does the same operations, and reads its weights from the cache, 64 times
# each. With tiles every stored weight is read once, and multiplied by the $G = 8$ segments of each input:
# $16 n$ operations for each four bytes. So the tiles stand further to the right, and there are an eighth of
# the operations to do.

# %%
fig, axes = plt.subplots(figsize=(7, 3.6))
intensity = np.geomspace(0.1, 500, 200)
axes.plot(intensity, np.minimum(P, intensity * B), "k-", label="roof, from memory")
axes.plot(intensity, np.minimum(P, intensity * B_cache), "k:", label="roof, from cache")
kinds = {"dense": (SIDE**2, SIDE**2), "tiles": (big.multiplications, big.num_buckets)}
kinds["element"] = kinds["dense"]  # multiplications for an input, and numbers read
rates = {}
for (kind, (work, read)), color, marker in zip(kinds.items(), figures.COLORS, figures.MARKERS):
    for batch, filled in ((1, "full"), (64, "none")):
        operations = 2 * batch * work
        rates[kind, batch] = operations / roof.median(f"{kind}, batch {batch}") / 1e9
        style = {"color": color, "fillstyle": filled, "linestyle": "", "markersize": 8}
        point = operations / (4 * read), rates[kind, batch]
        axes.plot(*point, marker, label=f"{kind}, batch {batch}", **style)
axes.set(xscale="log", yscale="log", xlabel="operations a byte read", ylabel="Gflop/s")
fig.legend(fontsize=8, loc="outside right")
plt.show()

# %% [markdown]
# Begin with the dense layer at batch 1, the filled circle. It lies on the left, where the roofs slope, and
# about on the lower one: memory cannot deliver weights faster, however fast the arithmetic is. At batch 64,
# the open circle, every weight is used 64 times, and the layer climbs towards the flat part.
#
# The element map at batch 1, the filled triangle, has its weights in the cache, and yet it is the slowest:
# every weight must be hashed to be used once. Hashing is arithmetic that the roofline does not count. At
# batch 64 one hash serves 64 inputs, and the triangle comes nearer to the circle.
#
# The tiles, the squares, do fewer operations, so that their height alone does not say how long they take.
# The times do:

# %%
for kind in ("tiles", "element"):
    for batch in (1, 64):
        ratio = roof.ratio(f"{kind}, batch {batch}", f"dense, batch {batch}")
        print(f"{kind:8} batch {batch:2}: {ratio.ratio:5.2f} of the dense time")

gap = {batch: rates["dense", batch] / rates["element", batch] for batch in (1, 64)}
assert roof.ratio("tiles, batch 1", "dense, batch 1").ratio < 0.5
assert roof.ratio("tiles, batch 64", "dense, batch 64").ratio < 0.7
assert gap[1] > gap[64] > 0.5 and gap[1] > 1

# %% [markdown]
# So, must a hashed layer be slower? With the paper's map it is, by the price of one hash, one gather and
# one scatter a weight, which a batch shares. With tiles it is not: a smaller model does less work, and its
# weights come from the cache.
#
# ## Exercises
#
# Replace `None` by your answer and run the cell. A number is compared with a digest, a function is tried
# out.

# %%
import hashlib  # noqa: E402

KEYS = {1: "a3a1820e", 2: "29efb3c0", 3: "23b6d28b", 4: "6478cfdf", 5: "444d34be"}
TRIALS = {}


def digest_of(number, answer):
    """Return a digest of an answer, the same for 7, for 7.0 and for NumPy's 7."""
    try:
        text = f"{float(answer):.12g}"
    except (TypeError, ValueError):
        text = str(answer)
    return hashlib.sha256(f"race {number}: {text}".encode()).hexdigest()[:8]


def check(number, answer):
    """Say whether an answer is right: compare its digest, or that of what a function returns."""
    if answer is None:
        return print(f"exercise {number}: no answer yet")
    try:
        found = TRIALS[number](answer) if number in TRIALS else answer
    except Exception as error:  # whatever a wrong function does
        return print(f"exercise {number}: not yet: {str(error) or type(error).__name__}")
    print(f"exercise {number}:", "right" if digest_of(number, found) == KEYS[number] else "not yet")


# %% [markdown]
# **1.** How many positions does the function `panels` above hash in one step of the 784 × 1000 layer?

# %%
check(1, None)

# %% [markdown]
# **2.** And how many hashes are there for the same layer with tiles of 98: one for each row and segment, and
# one for each input?

# %%
check(2, None)

# %% [markdown]
# **3.** How many multiplications does that layer do for one input, forward?

# %%
check(3, None)

# %% [markdown]
# **4.** By the roofline, from which batch on is the dense layer no longer bound by memory? Write
# `enough(P, B)`, which returns it for an arithmetic of $P$ Gflop/s and a memory of $B$ GB/s. What is it for
# the rates measured above?

# %%
TRIALS[4] = lambda enough: enough(90, 12)
check(4, None)

# %% [markdown]
# **5.** Write `expand_tiles(weight, tiles, signs, length)`: the panel whose row $i$ consists of the tiles
# `tiles[i]` side by side, each times its sign in `signs[i]`. Tile $\tau$ is the `length` weights from
# `length` · $\tau$ on; but the last one ends with the weights, and may so overlap the one before.


# %%
def try_expand(expand):
    tiles, signs = np.array([[0, 2], [1, 1], [2, 0]]), np.array([[1, -1], [-1, 1], [-1, -1]])
    return np.asarray(expand(np.arange(1.0, 12), tiles, signs, 4), int).tolist()  # the last has 8 to 11


TRIALS[5] = try_expand
check(5, None)
