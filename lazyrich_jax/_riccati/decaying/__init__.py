r"""The engine for weight decay: $\dot P = F(t) P + P F(t) - P^2$.

The balance decays: $F(t) = S - \gamma I - \frac\lambda2 e^{-2\gamma t} J$. It mixes
only the two rows of a mode. `pairs` has the two solutions of every mode in closed
form: `falling` is the ratio of the falling one, `rising` the integral of the growing
one, `adiabatic` what the latter lacks of the task. `state` puts all modes together at
one time, `solution` at many. docs/beyond.md, section 1.
"""
