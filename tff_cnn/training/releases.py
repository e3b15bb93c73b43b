"""ledger.jsonl: what a run has released, written before it can be seen.

A round's result is in the memory of one process until it is recorded here; only
then do the next round's clients, metrics, checkpoints and TensorBoard get it.
What is recorded counts for ever. A line is a JSON object, appended and synced
to the disk:

    {"branch": b, "after": n}         branch b goes on from the state after
                                      round n, 0 for the start
    {..., "already": m}               and rounds n + 1 to m were released when
                                      there was no record yet
    {"round": t, "state": digest}     round t of that branch is released
    {..., "metric": value}            and with it a noised metric

with "check", a digest of the line and of all before it, so that a line that is
missing, changed or out of place is noticed. A torn last line is that of a round
that nobody saw.

**A round that is computed again** after a kill draws the cohort and the noise
that it drew before, because both follow from the run's secret, the branch and
the round (`run_secret`). If its result has the recorded digest, it is the same
release, and nothing new is seen. If it differs (other code, another machine),
it is thrown away, and a new branch begins, with cohorts and noise of its own:
the rounds of the old one that it leaves behind stay on the bill
(`privacy.history`).
"""

import hashlib
import json
import os
import pathlib
from typing import Any

from tff_cnn.core.errors import FailedRunError, UsageError
from tff_cnn.privacy.history import History

# What reading a damaged line ends with.
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


class BranchError(Exception):
    """The run has to go on as a new branch, after round `after`."""

    def __init__(self, after: int, why: str):
        super().__init__(why)
        self.after = after


class Releases:
    """The record of one run.

    Attributes:
      branch: Number of the current branch, from 1; 0 before the first.
      branched_after: Round after which the current branch began.
      num_unsecret: The first so many rounds were released when cohorts followed
        from the run's seed.
    """

    def __init__(self, path: pathlib.Path):
        """Reads the record, if there is one.

        Args:
          path: Of ledger.jsonl.

        Raises:
          UsageError: It is damaged.
        """
        self._path = path
        self._check = ""
        self._size = 0  # Bytes of whole lines.
        # Of the rounds on the way to the newest state: what was recorded.
        self._way: list[dict[str, Any]] = []
        self._abandoned: list[tuple[int, int]] = []
        self.branch = 0
        self.branched_after = 0
        self.num_unsecret = 0
        self._read()

    @property
    def last_round(self) -> int:
        """The last round that the current branch has released."""
        return len(self._way)

    @property
    def history(self) -> History:
        """All that was released."""
        return self.history_until(self.last_round)

    def history_until(self, round_num: int) -> History:
        """What had been released when the current branch was at `round_num`."""
        return History(round_num, tuple(self._abandoned))

    def is_known(self, round_num: int) -> bool:
        """Whether the result of a recorded round is known."""
        return self._way[round_num - 1]["state"] is not None

    def begin(self, after: int, already: int = 0) -> None:
        """Begins a new branch after round `after` of the current one.

        Args:
          after: In [0, last_round].
          already: The last round that was released before there was a record;
            its cohorts followed from the run's public seed.
        """
        line = {"branch": self.branch + 1, "after": after}
        self._append({**line, "already": already} if already else line)

    def record(
        self, round_num: int, state: str, metric: float | None = None
    ) -> None:
        """Records a round, or finds that it is recorded already.

        Args:
          round_num: At most one more than `last_round`.
          state: Digest of the state after it.
          metric: What else the round releases.

        Raises:
          BranchError: It was released with another result.
        """
        line = {"round": round_num, "state": state}
        if metric is not None:
            line["metric"] = metric
        if round_num > self.last_round:
            self._append(line)
        elif self._way[round_num - 1] != line:
            raise BranchError(
                round_num - 1,
                f"round {round_num} had been released before with another "
                "result",
            )

    def check_state(self, round_num: int, state: str) -> None:
        """Whether a saved state is one that was released.

        Args:
          round_num: After which it was saved.
          state: Its digest.

        Raises:
          UsageError: The record ends before it.
          ValueError: Another state was released.
        """
        if round_num > self.last_round:
            raise UsageError(
                f"{self._path} ends with round {self.last_round}, but there is "
                f"a checkpoint of round {round_num}: what the rounds between "
                "spent is not recorded, so restore the file or train in "
                "another <run_dir>."
            )
        if round_num:
            known = self._way[round_num - 1]["state"]
            if known not in (None, state):
                raise ValueError("its state is not the one that was released")

    def _append(self, line: dict[str, Any]) -> None:
        """Writes a line to the disk, then counts it."""
        self._check_place(line)
        check = _check(self._check, line)
        content = (json.dumps({**line, "check": check}) + "\n").encode()
        is_new = not self._size
        with open(self._path, "ab") as file:
            if os.fstat(file.fileno()).st_size < self._size:
                raise FailedRunError(
                    f"{self._path} was cut or replaced while the run went on: "
                    "restore it, and the same command continues."
                )
            # What a kill left of a line, or a full disk.
            file.truncate(self._size)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _sync_folder(self._path.parent)
        self._count(line)
        self._check, self._size = check, self._size + len(content)

    def _read(self) -> None:
        content = self._path.read_bytes() if self._path.exists() else b""
        lines = content.splitlines(keepends=True)
        for number, text in enumerate(lines, 1):
            if not text.endswith(b"\n"):
                return  # Torn.
            try:
                line = json.loads(text)
                check = line.pop("check")
                if check != _check(self._check, line):
                    raise ValueError("it was changed")
                self._check_place(line)
            except _DAMAGE as e:
                raise UsageError(
                    f"{self._path} is damaged in line {number} ({e}), so what "
                    "the run has spent is not known: restore the file or train "
                    "in another <run_dir>."
                ) from e
            self._count(line)
            self._check, self._size = check, self._size + len(text)

    def _check_place(self, line: dict[str, Any]) -> None:
        """Raises `ValueError` where a line cannot come next."""
        if "branch" in line:
            branch, after = line["branch"], line["after"]
            if branch != self.branch + 1 or not 0 <= after <= self.last_round:
                raise ValueError(f"branch {branch} after round {after}")
        elif line["round"] != self.last_round + 1 or not self.branch:
            raise ValueError(f"round {line['round']} out of place")

    def _count(self, line: dict[str, Any]) -> None:
        if "branch" in line:
            branch, after = line["branch"], line["after"]
            if after < self.last_round:
                self._abandoned.append((after + 1, self.last_round))
            self.branch, self.branched_after = branch, after
            del self._way[after:]
            unknown = range(after + 1, line.get("already", 0) + 1)
            self._way += [{"round": r, "state": None} for r in unknown]
            self.num_unsecret = max(self.num_unsecret, *unknown, 0)
        else:
            self._way.append(line)


def _check(before: str, line: dict[str, Any]) -> str:
    """Digest of a line and of all before it."""
    content = before + json.dumps(line, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _sync_folder(path: pathlib.Path) -> None:
    """Makes sure that a new file's name survives a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
