"""Names of the library in code, such as `lr.learn(...)`, link to their reference."""

import re

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

NAME = re.compile(r"(?:lr|lazyrich_jax)((?:\.[A-Za-z]\w*)+)")


class LinkedNames(SphinxTransform):
    """Refer from code that starts with a name to that name, if it is documented."""

    default_priority = 500

    def apply(self, **kwargs) -> None:
        """Link the names of one page."""
        for node in list(self.document.findall(nodes.literal)):
            match = NAME.match(node.astext())
            if match and not isinstance(node.parent, nodes.reference | nodes.title):
                name = f"lr{match[1]}"
                link = pending_xref(reftarget=name, refdomain="py", reftype="obj")
                link["refdoc"] = self.env.docname
                link += node.deepcopy()
                node.replace_self(link)


def setup(app: Sphinx) -> dict:
    """Add the transform."""
    app.add_transform(LinkedNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
