"""The imports of a module, by its syntax tree."""

import ast


def imported(node: ast.AST) -> list[str]:
    """The modules, or their members, that an absolute import names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def relative_imports(
    tree: ast.AST, own: tuple[str, ...]
) -> list[tuple[ast.ImportFrom, tuple[str, ...]]]:
    """Relative imports, each with the path of the imported module."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level > 0:
            base = own[: len(own) - node.level]
            if node.module:
                found.append((node, (*base, *node.module.split("."))))
            else:
                found += [(node, (*base, alias.name)) for alias in node.names]
    return found
