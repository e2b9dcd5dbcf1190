"""Dead patches: patches of names that are read nowhere, detected in the source, without running anything.

A patch of `module.NAME` has an effect if NAME is looked up in that module while the program runs: by a function of the
module itself, or as `module.NAME` or `from module import NAME` in a function of another one. A name that a module only
defines, imports, or uses as a default argument was read before any patch.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from types import MappingProxyType

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = {"listcomp", "setcomp", "dictcomp", "genexpr"}
Bindings = list[dict[str, ast.expr]]
"""Values that a loop, or a parametrization, gives its names: one mapping for each time."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Patched name. `owner`: the dotted name of a module, or of a class in one."""

    line: int
    owner: str
    name: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.owner}.{self.name}"


@dataclass(frozen=True, slots=True)
class Program:
    """Modules of a package, by their dotted names, and the names that are read in them while they run."""

    sources: Mapping[str, str]
    reads: set[tuple[str, str]] = field(default_factory=set)
    """Modules, and names of theirs that are looked up."""
    attributes: set[str] = field(default_factory=set)
    """Names that are looked up on anything."""

    @classmethod
    def of_package(cls, folder: Path) -> Program:
        """Read the package in this folder."""
        parts = {path: path.relative_to(folder.parent).with_suffix("").parts for path in folder.rglob("*.py")}
        return cls.of(
            {".".join(p[:-1] if p[-1] == "__init__" else p): path.read_text("utf-8") for path, p in parts.items()}
        )

    @classmethod
    def of(cls, sources: Mapping[str, str]) -> Program:
        """Read modules from their sources, by dotted name."""
        program = cls(sources)
        for module, source in sources.items():
            program.reads.update((module, name) for name in _globals_read(symtable.symtable(source, module, "exec")))
            for node, aliases in program._run_later(ast.parse(source), {}):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    program.attributes.add(node.attr)
                    if owner := dotted(node.value, aliases):
                        program.reads.add((owner, node.attr))
                elif isinstance(node, ast.ImportFrom):
                    program.reads.update((node.module or "", name.name) for name in node.names)
        return program

    def is_read(self, patch: Patch) -> bool:
        """Return True if the patched name is looked up while the program runs."""
        if patch.owner in self.sources:
            return (patch.owner, patch.name) in self.reads
        return patch.name in self.attributes  # of a class: on any object of it

    def dead_patches(self, source: str) -> list[Patch]:
        """Return the patches in this source that have no effect."""
        return [patch for patch in self.patches(source) if not self.is_read(patch)]

    def patches(self, source: str) -> list[Patch]:
        """Return all patches in this source of names in the program."""
        return list(_Finder(self).patches_in(ast.parse(source)))

    def scope(self, node: ast.AST, around: Mapping[str, str]) -> Mapping[str, str]:
        """Return what names stand for inside a node: modules of the program and what is in them; "" for all else."""
        if not isinstance(node, (ast.Module, *FUNCTIONS)):
            return around
        aliases = dict(around)
        if isinstance(node, FUNCTIONS):
            arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            aliases |= {argument.arg: "" for argument in arguments}
        packages = {module.partition(".")[0] for module in self.sources}
        for one in _within(node):
            if isinstance(one, ast.Import):
                roots = {n.name.partition(".")[0] for n in one.names if not n.asname}
                imports = {n.asname: n.name for n in one.names if n.asname} | {root: root for root in roots}
            elif isinstance(one, ast.ImportFrom):
                imports = {n.asname or n.name: f"{one.module}.{n.name}" for n in one.names}
            else:
                continue
            aliases |= {alias: name if name.partition(".")[0] in packages else "" for alias, name in imports.items()}
        return aliases

    def _run_later(
        self, node: ast.AST, aliases: Mapping[str, str], is_later: bool = False
    ) -> Iterator[tuple[ast.AST, Mapping[str, str]]]:
        """Yield the nodes that run at a call of a function, not at import, and what names stand for in them."""
        aliases = self.scope(node, aliases)
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    is_body = isinstance(node, FUNCTIONS) and name == "body"
                    if is_later or is_body:
                        yield child, aliases
                    yield from self._run_later(child, aliases, is_later or is_body)


def _within(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a file or a function, but for those in functions in it."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, FUNCTIONS):
            yield from _within(node)


def dotted(node: ast.expr, aliases: Mapping[str, str]) -> str | None:
    """Return the dotted name that an expression stands for; None for anything else than an import's."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value, aliases)):
        return f"{owner}.{node.attr}"
    return None


def _globals_read(table: symtable.SymbolTable, is_later: bool = False) -> Iterator[str]:
    """Yield names of the module that are looked up in functions of it, but for what runs when it is imported."""
    if is_later:
        yield from (
            symbol.get_name() for symbol in table.get_symbols() if symbol.is_global() and symbol.is_referenced()
        )
    for child in table.get_children():
        is_function = child.get_type() == "function" and child.get_name() not in COMPREHENSIONS
        yield from _globals_read(child, is_later or is_function)


class _Finder:
    """Finder of patches, which knows the loops, the parametrizations and the arguments around a node."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def patches_in(
        self, node: ast.AST, aliases: Mapping[str, str] = MappingProxyType({}), around: Sequence[Bindings] = ()
    ) -> Iterator[Patch]:
        """Yield the patches in a node."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            around = [*around, *(bindings for one in node.decorator_list if (bindings := _parametrized(one)))]
        elif isinstance(node, ast.For | ast.AsyncFor) and (bindings := _bound(node.target, node.iter)):
            around = [*around, bindings]
        aliases = self._program.scope(node, aliases)
        for target, name in _patched(node):
            yield from self._resolved(node, target, name, aliases, around)
        for child in ast.iter_child_nodes(node):
            yield from self.patches_in(child, aliases, around)

    def _resolved(
        self,
        node: ast.AST,
        target: ast.expr,
        name: ast.expr | None,
        aliases: Mapping[str, str],
        around: Sequence[Bindings],
    ) -> Iterator[Patch]:
        used = {one.id for each in (target, name) if each for one in ast.walk(each) if isinstance(one, ast.Name)}
        patches = dict[Patch, None]()
        for chosen in product(*(bindings for bindings in around if used & bindings[0].keys())):
            values = {key: value for binding in chosen for key, value in binding.items()}
            owner, attribute = _owner_and_name(_value(target, values), name and _value(name, values), aliases)
            if owner in self._program.sources or owner.rpartition(".")[0] in self._program.sources:
                patches[Patch(getattr(node, "lineno", 0), owner, attribute)] = None
        yield from patches


def _owner_and_name(target: ast.expr, name: ast.expr | None, aliases: Mapping[str, str]) -> tuple[str, str]:
    """Return what is patched; an owner that is not imported is "", and a name that cannot be told "?"."""
    if name is not None:
        return dotted(target, aliases) or "", str(name.value) if isinstance(name, ast.Constant) else "?"
    owner, _, attribute = str(target.value if isinstance(target, ast.Constant) else "").rpartition(".")
    return owner, attribute


def _patched(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Yield what a node patches: an owner and a name, or both in one string."""
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called == "patch" and node.args:
            yield node.args[0], None
        elif called in ("setattr", "delattr", "object") and len(node.args) >= 2:
            in_one = called == "setattr" and len(node.args) == 2
            yield node.args[0], None if in_one else node.args[1]
    elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Attribute):
                yield target.value, ast.Constant(target.attr)


def _parametrized(decorator: ast.expr) -> Bindings | None:
    """Return what `pytest.mark.parametrize` gives; None for another decorator."""
    if not (isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute)):
        return None
    if decorator.func.attr != "parametrize" or len(decorator.args) < 2:
        return None
    names, values = decorator.args[:2]
    if isinstance(names, ast.Constant):
        written = [ast.Name(name.strip()) for name in str(names.value).split(",")]
        names = written[0] if len(written) == 1 else ast.Tuple(list(written))
    return _bound(names, values)


def _bound(target: ast.expr, values: ast.expr) -> Bindings | None:
    """Return what each of the listed values gives to the target; None where they are not written down there."""
    if not isinstance(values, ast.Tuple | ast.List | ast.Set):
        return None
    bindings: Bindings = []
    for value in values.elts:
        if isinstance(value, ast.Call) and getattr(value.func, "attr", "") == "param":
            value = value.args[0] if isinstance(target, ast.Name) else ast.Tuple(list(value.args))
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
            pairs = list(zip(target.elts, value.elts, strict=True))
        bindings.append({_name(name): one for name, one in pairs})
    return bindings or None


def _name(target: ast.expr) -> str:
    return target.id if isinstance(target, ast.Name) else str(getattr(target, "value", ""))


def _value(node: ast.expr, values: Mapping[str, ast.expr]) -> ast.expr:
    return values.get(node.id, node) if isinstance(node, ast.Name) else node
