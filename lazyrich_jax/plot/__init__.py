"""Plots of learning. Each draws one quantity, on given axes or on new ones."""

from .animation import animate as animate
from .animation import animate_qqt as animate_qqt
from .curves import function as function
from .curves import kernel_distance as kernel_distance
from .curves import loss as loss
from .curves import modes as modes
from .curves import ntk as ntk
from .fits import fit as fit
from .fits import residuals as residuals
from .maps import matrix as matrix
from .maps import phase_diagram as phase_diagram
from .maps import representation as representation
from .reports import report as report
from .style import COLOURS as COLOURS
from .style import LINESTYLES as LINESTYLES
from .style import line as line
from .style import style as style
