"""Public names of definitions: `numpy.dstack`, not `numpy.lib._shape_base_impl.dstack`.

Follows imports and star imports from module to module in the sources; nothing is imported.
"""

from collections.abc import Iterable, Iterator, Sequence

from attune.data.sources.packages.modules import ClassFacts, Module, Place


class PublicNames:
    """Public dotted names of the definitions in a package's modules."""

    def __init__(self, modules: Iterable[Module], internal: Sequence[str]) -> None:
        """Reads the modules; those in `internal`, and modules below them, count as private, as if named with `_`."""
        self._modules = {module.name: module for module in modules}
        self._names: dict[Place, str] = {}
        self._inherited: dict[Place, str] = {}
        for module in self._modules.values():
            if not _is_internal(module.name, internal):
                self._publish(module)
        for place in sorted(self._names, key=self._prominence):
            self._inherit(place, self._names[place])
        for place in sorted(self._names, key=self._accessibility):
            self._access(place, self._names[place])

    def of(self, module: str, qualname: str) -> str | None:
        """Returns the shortest public name of a definition; None where it is not public.

        A method of a private class is named by the most prominent public subclass, or by the accessor, that has it.
        """
        head, _, rest = qualname.partition(".")
        name = self._names.get((module, head))
        if name is None and rest:
            name = self._inherited.get((module, head))
        return f"{name}.{rest}" if name and rest else name

    def is_inherited(self, module: str, qualname: str) -> bool:
        """Tells whether `of` names a subclass or an accessor instead of the class itself."""
        return (module, qualname.partition(".")[0]) not in self._names

    def places(self, dotted: str) -> Iterator[Place]:
        """Yields the places (module, qualname) where a full dotted name may be defined; a method also in each base."""
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

    def _publish(self, module: Module) -> None:
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
        """Returns all names at a module's top level, those of star imports included."""
        bound = {*module.defined, *module.aliases, *module.instances}
        for star in module.stars:
            if star in self._modules and star not in seen:
                bound |= self._starred(self._modules[star], seen | {module.name})
        return bound

    def _starred(self, module: Module, seen: frozenset[str] = frozenset()) -> set[str]:
        """Returns the names that `from module import *` binds."""
        if module.exported is not None:
            return set(module.exported)
        return {name for name in self._bound(module, seen) if not name.startswith("_")}

    def _resolve(self, place: Place, seen: frozenset[Place] = frozenset()) -> Place | None:
        """Returns the place that defines the function or class bound to a name in a module, or None."""
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
        # the last star import that binds the name wins; a module whose `__all__` is computed may bind more names
        stars = [self._modules[star] for star in reversed(module.stars) if star in self._modules]
        stars.sort(key=lambda star: place[1] not in self._starred(star))
        places = (self._resolve((star.name, place[1]), seen) for star in stars)
        return next((definition for definition in places if definition is not None), None)

    def _only_instance(self, module: Module, maker: str, seen: frozenset[Place]) -> Place | None:
        """Returns the class of `norm = norm_gen()`; None if a function creates it or the class has other instances."""
        place = self._resolve((module.name, maker), seen)
        is_only = list(module.instances.values()).count(maker) == 1
        return place if place is not None and self._facts(place) is not None and is_only else None

    def _inherit(self, place: Place, name: str) -> None:
        """Gives methods inherited from private bases the public class's name."""
        facts = self._facts(place)
        for base in facts.bases if facts else []:
            self._hand_down(place, base, name)

    def _access(self, place: Place, name: str) -> None:
        """Gives a private class that is exposed as `Series.str` the name `Series.str`."""
        facts = self._facts(place)
        for attribute, accessed in facts.accessors if facts else []:
            self._hand_down(place, accessed, f"{name}.{attribute}")

    def _hand_down(self, place: Place, dotted: str, name: str) -> None:
        source = self._locate(self._modules[place[0]], dotted)
        if source is not None and source not in self._names and source not in self._inherited:
            self._inherited[source] = name
            self._inherit(source, name)

    def _locate(self, module: Module, dotted: str) -> Place | None:
        """Returns the place that defines `Name`, or `module.Name` of an imported module."""
        head, _, rest = dotted.partition(".")
        if rest and head in module.aliases:
            return self._resolve((".".join(module.aliases[head]), rest))
        return self._resolve((module.name, dotted))

    def _facts(self, place: Place) -> ClassFacts | None:
        return self._modules[place[0]].defined[place[1]]

    def _prominence(self, place: Place) -> tuple[int, int, str]:
        """Sort key: fewest dots, then the largest class."""
        facts = self._facts(place)
        name = self._names[place]
        return name.count("."), -facts.n_statements if facts else 0, name

    def _accessibility(self, place: Place) -> tuple[int, int, str]:
        """Sort key: the class with most accessors first, so that names are `Series.str`, not `Index.str`."""
        facts = self._facts(place)
        name = self._names[place]
        return -len(facts.accessors) if facts else 0, name.count("."), name


def _rank(name: str, place: Place) -> tuple[int, bool, str]:
    """Sort key: fewest dots; then the definition's own name, or its only instance's, as in `norm = norm_gen()`."""
    last = name.rpartition(".")[2]
    return name.count("."), last != place[1] and not place[1].startswith(last), name


def _is_internal(module: str, internal: Sequence[str]) -> bool:
    if any(part.startswith("_") for part in module.split(".")):
        return True
    return any(module == name or module.startswith(f"{name}.") for name in internal)
