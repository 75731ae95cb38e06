r"""The engine: $\dot P = FP + PF - P^2$ for $P = QQ^\top$, solved for all times.

It works on matrices and knows no task and no network. docs/theory.md derives every
formula.

Modules from the lowest to the highest; each imports only from those above it:

    echelon        Rows in echelon form, by elimination.
    frame          A problem decomposed once: eigenbasis of F, Q0 in echelon form.
    batching/      Functions of many networks and times: JAX operations, blocks,
                   products, linear maps. No formula of this equation.
    rates          Eigenvalues of F: gaps, exponents, gains, a time for infinity.
    reference/     One network at one time, written like docs/theory.md: `solution`,
                   `first` and `second` derivatives, the hidden `rotation`,
                   `off_class`, the flow's derivatives off the balanced class, and
                   `along`, which integrates equations along the solution.
    fast/          Many networks at many times. `constants` (of time), `lanes` (products
                   of matrices), `thin_qr`, `solved` (K = (orthonormal) R), `values`
                   (loss, parts of QQ^T, Q), `scalar_rows` and `scalar_loop` (loss of
                   few units). For derivatives `numbers` and `pairs` (a change of the
                   problem), `exponentials`, `solution`, `limits`; in forward mode
                   `changes`, in reverse mode `slope_by_p`, `cotangents` and `slopes`;
                   `gradient` of the loss, `part_gradient` of parts.
    differentiable The only entrance for two layers: values by `fast`, with their
                   derivative rules.
    decaying/      Weight decay: F depends on time. `pairs` has the solutions of a mode,
                   `state` has quantities at one time, `solution` at many, with
                   JAX's derivatives.
    symmetric      Any symmetric matrix in place of F, by `reference`; Oja's flow.

`reference` and `fast` do not import each other: their agreement is evidence.

Symbols. Rows are eigenvectors of F: the modes' growing ones, the left-over directions,
the modes' decaying ones. Columns span the hidden directions of Q0.

    docs/theory.md        code                   shape, meaning
    U, s, V               left, s, right         singular vectors and values of Sigma
    w; kappa              rates; kappa           eigenvalues of F; of the modes
    cos, sin theta        cos, sin               a mode's eigenvectors of F
    L, B                  lower, basis           Q0 = L B in the eigenbasis
    pivots                pivots, place          the first independent rows
    C, L_c^-1             echelon, inverse       L = C L_c, L_c the pivot rows of L
    v                     pivot_rates, growth    growth of the pivot rows
    g(w)                  gain, root             (e^{2wt} - 1) / 2w, bounded; its root
    S                     shrink                 e^{-vt}
    K, R                  k, r                   K = [g^(1/2) L S; S] = (orthonormal) R,
                                                 R lower triangular
    q                     q; grow, rest, fall    e^{Wt} L S R^-1; by kinds of rows
    P, P - 2W             p, deviation           q q^T; over its limit
    T, h                  less, bend             divided differences of e^{wt} and g(w)
"""
