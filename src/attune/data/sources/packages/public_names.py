"""The name a user knows a definition by: `numpy.dstack`, not `numpy.lib._shape_base_impl.dstack`.

Imports and stars are followed from module to module, in the sources: nothing is imported.
"""

from collections.abc import Iterable, Iterator, Sequence

from attune.data.sources.packages.modules import ClassFacts, Module, Place


class PublicNames:
    """Under which dotted names a package offers what its modules define."""

    def __init__(self, modules: Iterable[Module], internal: Sequence[str]) -> None:
        """Modules named in `internal`, and those below them, offer nothing themselves, as if they began with `_`."""
        self._modules = {module.name: module for module in modules}
        self._names: dict[Place, str] = {}
        self._inherited: dict[Place, str] = {}
        for module in self._modules.values():
            if not _is_internal(module.name, internal):
                self._offer(module)
        for place in sorted(self._names, key=self._prominence):
            self._inherit(place, self._names[place])
        for place in sorted(self._names, key=self._accessibility):
            self._access(place, self._names[place])

    def of(self, module: str, qualname: str) -> str | None:
        """The shortest dotted name of what a module defines; None where the package does not offer it.

        A method of a class that is not offered goes by the most prominent subclass, or by the accessor, that has it.
        """
        head, _, rest = qualname.partition(".")
        name = self._names.get((module, head))
        if name is None and rest:
            name = self._inherited.get((module, head))
        return f"{name}.{rest}" if name and rest else name

    def is_inherited(self, module: str, qualname: str) -> bool:
        """Whether `of` names a subclass or an accessor, not the class itself."""
        return (module, qualname.partition(".")[0]) not in self._names

    def places(self, dotted: str) -> Iterator[Place]:
        """Where what a full dotted name leads to may be defined: module and qualname, of a method also in each base."""
        parts = dotted.split(".")
        for n in range(len(parts) - 1, 0, -1):
            place = self._resolve((".".join(parts[:n]), parts[n]))
            if place is not None:
                yield from self._along_bases(place, parts[n + 1 :])

    def _along_bases(self, place: Place, rest: list[str], seen: frozenset[Place] = frozenset()) -> Iterator[Place]:
        yield place[0], ".".join([place[1], *rest])
        facts = self._facts(place) if rest else None
        for base in facts.bases if facts else []:
            source = self._locate(self._modules[place[0]], base)
            if source is not None and source not in seen | {place}:
                yield from self._along_bases(source, rest, seen | {place})

    def _offer(self, module: Module) -> None:
        own = {*module.defined, *module.instances}
        if module.is_package or not module.defined:
            names = self._bound(module)
        else:
            names = own if module.exported is None else set(module.exported)
        for name in sorted(names):
            place = self._resolve((module.name, name))
            if place is not None and not name.startswith("_"):
                known = self._names.get(place)
                new = f"{module.name}.{name}"
                if known is None or _rank(new, place) < _rank(known, place):
                    self._names[place] = new

    def _bound(self, module: Module, seen: frozenset[str] = frozenset()) -> set[str]:
        """All names at a module's top level, those that come with a star included."""
        bound = {*module.defined, *module.aliases, *module.instances}
        for star in module.stars:
            if star in self._modules and star not in seen:
                bound |= self._starred(self._modules[star], seen | {module.name})
        return bound

    def _starred(self, module: Module, seen: frozenset[str] = frozenset()) -> set[str]:
        """The names that `from module import *` brings."""
        if module.exported is not None:
            return set(module.exported)
        return {name for name in self._bound(module, seen) if not name.startswith("_")}

    def _resolve(self, place: Place, seen: frozenset[Place] = frozenset()) -> Place | None:
        """Where the function or class is defined that a module binds to a name."""
        module = self._modules.get(place[0])
        if module is None or place in seen:
            return None
        seen |= {place}
        if place[1] in module.defined:
            return place
        if place[1] in module.instances:
            return self._only_instance(module, module.instances[place[1]], seen)
        if place[1] in module.aliases:
            return self._resolve(module.aliases[place[1]], seen)
        # the last star that brings the name; behind an `__all__` put together at run time may be more than it shows
        stars = [self._modules[star] for star in reversed(module.stars) if star in self._modules]
        stars.sort(key=lambda star: place[1] not in self._starred(star))
        places = (self._resolve((star.name, place[1]), seen) for star in stars)
        return next((found for found in places if found is not None), None)

    def _only_instance(self, module: Module, maker: str, seen: frozenset[Place]) -> Place | None:
        """The class behind `norm = norm_gen()`; none where a function makes it, or where the class makes others too."""
        place = self._resolve((module.name, maker), seen)
        is_only = list(module.instances.values()).count(maker) == 1
        return place if place is not None and self._facts(place) is not None and is_only else None

    def _inherit(self, place: Place, name: str) -> None:
        """Gives the bases of a class, where they are not offered themselves, its name for their methods."""
        facts = self._facts(place)
        for base in facts.bases if facts else []:
            self._hand_down(place, base, name)

    def _access(self, place: Place, name: str) -> None:
        """Gives classes that are reached through an attribute of an offered class that attribute's name."""
        facts = self._facts(place)
        for attribute, hung in facts.accessors if facts else []:
            self._hand_down(place, hung, f"{name}.{attribute}")

    def _hand_down(self, place: Place, dotted: str, name: str) -> None:
        source = self._locate(self._modules[place[0]], dotted)
        if source is not None and source not in self._names and source not in self._inherited:
            self._inherited[source] = name
            self._inherit(source, name)

    def _locate(self, module: Module, dotted: str) -> Place | None:
        """Where `Name`, or `module.Name` of an imported module, is defined."""
        head, _, rest = dotted.partition(".")
        if rest and head in module.aliases:
            return self._resolve((".".join(module.aliases[head]), rest))
        return self._resolve((module.name, dotted))

    def _facts(self, place: Place) -> ClassFacts | None:
        return self._modules[place[0]].defined[place[1]]

    def _prominence(self, place: Place) -> tuple[int, int, str]:
        """Few dots first, then large classes."""
        facts = self._facts(place)
        name = self._names[place]
        return name.count("."), -facts.n_statements if facts else 0, name

    def _accessibility(self, place: Place) -> tuple[int, int, str]:
        """Classes with many accessors first: `str` is looked for in `Series`, though `Index` has it too."""
        facts = self._facts(place)
        name = self._names[place]
        return -len(facts.accessors) if facts else 0, name.count("."), name


def _rank(name: str, place: Place) -> tuple[int, bool, str]:
    """Few dots first; then the own name before others, but for `norm = norm_gen()` the instance's."""
    last = name.rpartition(".")[2]
    return name.count("."), last != place[1] and not place[1].startswith(last), name


def _is_internal(module: str, internal: Sequence[str]) -> bool:
    if any(part.startswith("_") for part in module.split(".")):
        return True
    return any(module == name or module.startswith(f"{name}.") for name in internal)
