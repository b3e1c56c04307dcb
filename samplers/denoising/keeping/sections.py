"""Takes over finished sections of earlier runs, and keeps those of this one."""

from __future__ import annotations

from functools import cached_property

from ...context.history import History, Memory
from ...context.plan import Section
from ...observer import SectionObserver
from ...settings import SampleInputs
from ...store.digest import NotKeyed, digest
from ...store.folder import RecordStore
from ...store.record import Record
from ..cuts.carried import SubjectSearch
from ..run import Run, SectionInput
from ..trace import measured_part
from .keys import acting_techniques, run_parts, section_parts, technique_part

# What a record holds of Memory, beside the section's latents; image tokens only where they were replaced.
LATENTS, START, REMEMBERED, TOKENS = "latents", "start", "remembered", "replaced_tokens"


class KeptSections:
    """The finished sections of earlier runs, for one run.

    run, inputs: what the sections of the run share.
    store: where records are; None keeps nothing.
    observer: is told how many sections are taken over before the first one is sampled, and if sections cannot be kept.
    """

    def __init__(
        self, run: Run, inputs: SampleInputs, store: RecordStore | None, observer: SectionObserver
    ) -> None:
        self._run, self._inputs, self._store, self._observer = run, inputs, store, observer
        self._techniques: dict[int, str] = {}
        self._taken, self._sampled, self._said = 0, 0, False

    def key(self, given: SectionInput, history: History, search: SubjectSearch | None = None) -> str | None:
        """What stands for a section before it is prepared; None where it cannot be kept.

        `search` is what it keeps of the shot before it, which is still in the history.
        """
        if self._store is None or self._run_digest is None:
            return None
        try:
            parts = section_parts(self._run, given, history, self._inputs)
            return digest(["section", self._run_digest, parts, search, self._acting(given.section)])
        except NotKeyed as unknown:
            self._say(unknown)
            return None

    def take_over(self, key: str | None, section: Section, history: History) -> bool:
        """Put a section that was finished earlier into the history and the trace; whether there was one."""
        record = None if key is None or self._store is None else self._store.get(key)
        if record is None:
            self.announce()
            self._sampled += 1
            return False
        tensors, measured = record.tensors, record.facts
        memory = Memory(
            start=tensors[START], remembered=tensors[REMEMBERED], replaced_tokens=tensors.get(TOKENS)
        )
        history.take_over(tensors[LATENTS], memory)
        self._run.take_over(section, tensors[LATENTS], measured)
        self._run.kept.add(section.index)
        self._taken += 1
        return True

    def keep(self, key: str | None, history: History) -> None:
        """Keep the section that was sampled last, with what it has left in the history."""
        sampled = self._run.trace["sections"][-1]
        if key is None or self._store is None or sampled.get("retried"):
            return
        memory = history.memory
        tensors = {LATENTS: history.latest, START: memory.start, REMEMBERED: memory.remembered}
        if memory.replaced_tokens is not None:
            tensors[TOKENS] = memory.replaced_tokens
        record = Record(tensors=tensors, facts=measured_part(sampled))
        if record.is_finite and self._store.put(key, record):
            self._run.kept.add(sampled["index"])

    def announce(self) -> None:
        """Say how many sections are taken over, once that is known: before the first one is sampled, or in the end."""
        if self._taken and not self._sampled:
            total = len(self._run.schedules)
            rest = f"{total - self._taken} are sampled" if self._taken < total else "none is sampled"
            self._observer.notice(
                f"{self._taken} of {total} sections are there from an earlier run and are reused; {rest}."
            )

    @cached_property
    def _run_digest(self) -> str | None:
        """What stands for all that the run's sections share; None where that has no content that could be told."""
        try:
            return digest(run_parts(self._run))
        except NotKeyed as unknown:
            self._say(unknown)
            return None

    def _acting(self, section: Section) -> list[str]:
        """The techniques that act in a section; each is looked at once in a run."""
        driver = self._run.driver
        acting = acting_techniques(driver, section)
        for technique in acting:
            if id(technique) not in self._techniques:
                self._techniques[id(technique)] = digest(technique_part(driver, technique))
        return [self._techniques[id(technique)] for technique in acting]

    def _say(self, unknown: NotKeyed) -> None:
        if not self._said:
            self._observer.notice(f"Finished sections are not kept and not reused: the run uses {unknown}.")
        self._said = True
