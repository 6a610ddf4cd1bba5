"""The texts that fastleuk's errors are made with, read from the source.

What a run fills in stands in ‹…›, what may be missing in […].
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

ERRORS = ("ConfigError", "DataError", "WeightsError", "CheckpointError", "MissingDependencyError",
          "FastleukError", "BadImage", "NonFiniteError", "LostProcessError", "Interrupted")  # fmt: skip
SHORT = {"error": "reason", "exc": "reason", "strerror": "reason", "__name__": "type",
         "run_dir": "RUN", "said": "reason"}  # fmt: skip
Constants = Mapping[str, str]


def constants(
    tree: ast.Module, others: Mapping[str, ast.Module], everywhere: Constants
) -> dict[str, str]:
    """Return how to write each constant that a module has, or imports from another one.

    Args:
        tree: The module.
        others: Modules by their dotted names.
        everywhere: What :func:`unambiguous` says of them.
    """
    found = dict(everywhere)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module in others:
            theirs = _own(others[node.module])
            for alias in node.names:
                if alias.name in theirs:
                    found[alias.asname or alias.name] = theirs[alias.name]
    return found | _own(tree)


def unambiguous(modules: Mapping[str, ast.Module]) -> dict[str, str]:
    """Return the constants that mean one thing wherever they are, for ``names.BEST`` and the like."""
    values: dict[str, set[str]] = defaultdict(set)
    for tree in modules.values():
        for name, value in _own(tree).items():
            values[name].add(value)
    return {name: each.copy().pop() for name, each in values.items() if len(each) == 1}


def _own(tree: ast.Module) -> dict[str, str]:
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            target: ast.expr = node.target
        elif isinstance(node, ast.Assign):
            target = node.targets[0]
        else:
            continue
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = list(zip(target.elts, node.value.elts, strict=True))
        else:
            pairs = [(target, node.value)]
        for name, value in pairs:
            if isinstance(name, ast.Name) and name.id.isupper():
                found[name.id] = _literal(value)
    return found


def _literal(node: ast.AST) -> str:
    if isinstance(node, ast.Dict):
        node = ast.List([key for key in node.keys if key is not None])
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, tuple | list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return ""


def messages(tree: ast.Module, known: Constants) -> list[str]:
    """Return the texts that a module's errors are made with.

    >>> tree = ast.parse('raise DataError(f"{file}: no image. " "Leave it out.")')
    >>> messages(tree, {})
    ['‹file›: no image. Leave it out.']
    """
    scopes = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    functions = {scope.name: scope for scope in scopes}
    found = []
    for scope in [tree, *scopes]:
        local: dict[str, list[ast.AST]] = defaultdict(list)
        for node in _within(scope):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                local[node.targets[0].id].append(node.value)
        for node in _within(scope):
            if isinstance(node, ast.Call) and node.args and _called(node) in ERRORS:
                found += _texts(node.args[0], local, functions, known)
    return [text for text in map(_tidy, found) if _says_something(text)]


def remedies(tree: ast.Module) -> list[str]:
    """Return what ``os_errors`` adds to a refusal of the operating system."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_REMEDIES":
            assert isinstance(node.value, ast.Dict)
            texts = [_text(value, {}) for value in node.value.values]
            return [f"‹path›: ‹what the system says›. {text}" for text in texts]
    return []


def _within(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield a function's nodes without those of the functions in it."""
    for node in ast.iter_child_nodes(scope):
        if not isinstance(node, ast.FunctionDef):
            yield node
            yield from _within(node)


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _texts(
    node: ast.AST,
    local: Mapping[str, list[ast.AST]],
    functions: Mapping[str, ast.FunctionDef],
    known: Constants,
) -> list[str]:
    """Return what a message may be: of a variable, all that it is set to; of a call, its results."""
    if isinstance(node, ast.Name) and node.id in local:
        return [text for value in local[node.id] for text in _texts(value, {}, functions, known)]
    if isinstance(node, ast.Call) and _called(node) in functions:
        returned = [n for n in ast.walk(functions[_called(node)]) if isinstance(n, ast.Return)]
        return [text for n in returned if n.value for text in _texts(n.value, {}, {}, known)]
    if isinstance(node, ast.IfExp):
        return [t for n in (node.body, node.orelse) for t in _texts(n, local, functions, known)]
    return [_text(node, known)]


def _text(node: ast.AST, known: Constants) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value, known) for value in node.values)
    if isinstance(node, ast.FormattedValue):
        return _filled(node.value, known)
    if isinstance(node, ast.BinOp):
        return _text(node.left, known) + _text(node.right, known)
    return _filled(node, known)


def _filled(node: ast.AST, known: Constants) -> str:
    """Return what stands for an expression."""
    if isinstance(node, ast.IfExp):
        parts = [_text(part, known) for part in (node.body, node.orelse)]
        return f"[{''.join(parts)}]" if "" in parts else " / ".join(parts)
    if isinstance(node, ast.Constant | ast.JoinedStr):
        return _text(node, known)
    if isinstance(node, ast.Call) and _called(node) == "did_you_mean":
        return "[ Did you mean ‹name›?]"
    name = _name(node)
    return known.get(name) or f"‹{SHORT.get(name, name).strip('_').replace('_', ' ')}›"


def _name(node: ast.AST) -> str:
    """Return a short name for an expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call):
        called = _called(node)
        if called == "len":
            return "number"
        own = isinstance(node.func, ast.Attribute) and called in ("splitlines", "strip", "resolve")
        inner = node.func.value if own and isinstance(node.func, ast.Attribute) else None
        return _name(inner or (node.args[0] if node.args else node.func))
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    if isinstance(node, ast.GeneratorExp | ast.ListComp):
        return _name(node.generators[0].iter)
    if isinstance(node, ast.BinOp):
        return _name(node.left)
    if isinstance(node, ast.BoolOp):
        return _name(node.values[0])
    return "…"


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _says_something(text: str) -> bool:
    """Whether there are words beside what is filled in."""
    return len(re.sub(r"‹[^›]*›", "", text).split()) > 2
