"""Beam search with the same steps as transformers' `_beam_search`, but with a separate length for each slot.

The float32 operations and their order are the same, because another order of sums could change a close decision.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inference.engines import Prompt
from inference.engines.buffers import resized
from inference.engines.search import Choice, Progress, Rules, Sequences, constrained, most_new_tokens
from inference.engines.transfers import onto

# Worse than any score; finite, as in transformers, because sums of it are compared.
_OUT = -1.0e9


class Beams:
    """Beams of many slots, as tensors over all of them."""

    reads_texts = True

    def __init__(self, rules: Rules, slots: int, width: int, longest: int, device: torch.device) -> None:
        self._rules, self._width = rules, width
        self._kept = max(2, 1 + len(rules.ends)) * width
        self._prompts: list[Prompt | None] = [None] * slots
        self._limits, self._made = [0] * slots, [0] * slots
        self._ends = torch.tensor(rules.ends, device=device)
        self._scores = torch.zeros(slots, width, device=device)  # of the unfinished texts
        self._texts = torch.zeros(slots, width, longest, dtype=torch.int64, device=device)
        self._best_scores = torch.zeros(slots, width, device=device)  # of the finished texts, best first
        self._best_texts = torch.zeros(slots, width, longest, dtype=torch.int64, device=device)
        self._best_ended = torch.zeros(slots, width, dtype=torch.bool, device=device)
        self._hope = torch.zeros(slots, 1, dtype=torch.bool, device=device)  # can an unfinished text get better

    def begin(self, slot: int, prompt: Prompt) -> None:
        self._prompts[slot], self._made[slot] = prompt, 0
        self._limits[slot] = most_new_tokens(prompt.settings)
        # At first all beams are the same text, so only one of them is continued.
        self._scores[slot], self._scores[slot, 0] = _OUT, 0.0
        self._texts[slot] = self._best_texts[slot] = self._rules.ends[0]
        self._best_scores[slot], self._best_ended[slot], self._hope[slot] = _OUT, False, True

    def move(self, source: int, target: int) -> None:
        tensors = (self._scores, self._texts, self._best_scores, self._best_texts, self._best_ended, self._hope)
        for table in (*tensors, self._prompts, self._limits, self._made):
            table[target] = table[source]  # type: ignore[assignment]

    def enlarge(self, slots: int, reach: int) -> None:
        more, width = slots - len(self._prompts), self._width
        self._prompts += [None] * more
        self._limits += [0] * more
        self._made += [0] * more
        self._scores = resized(self._scores, (slots, width))
        self._best_scores = resized(self._best_scores, (slots, width))
        self._best_ended, self._hope = resized(self._best_ended, (slots, width)), resized(self._hope, (slots, 1))
        # The places after a text's last token hold the end token, also those that are added here.
        longest = (slots, width, max(reach, self._texts.shape[2]))
        self._texts = resized(self._texts, longest, self._rules.ends[0])
        self._best_texts = resized(self._best_texts, longest, self._rules.ends[0])

    @torch.inference_mode()
    def choose(self, scores: Tensor) -> Choice:
        count, width, vocabulary = scores.shape
        device, made = scores.device, self._made[:count]
        likely = torch.log_softmax(scores.float(), dim=-1)
        likely = constrained(likely, self._rules, self._progress(count))
        likely = (likely + self._scores[:count].unsqueeze(2)).flatten(1)  # (count, width * vocabulary)
        likely, places = likely.topk(self._kept)  # (count, kept)
        parents, tokens = places // vocabulary, places % vocabulary
        texts = _gathered(self._texts[:count], parents)
        length = onto(device, torch.tensor(made))
        texts.scatter_(2, length.view(-1, 1, 1).expand(-1, self._kept, 1), tokens.unsqueeze(2))
        over = torch.tensor([one + 1 >= most for one, most in zip(made, self._limits[:count], strict=True)])
        ended = torch.isin(tokens, self._ends) | onto(device, over).unsqueeze(1)
        growing = likely + ended.float() * _OUT
        next_places = growing.topk(width)[1]
        self._scores[:count] = growing.gather(1, next_places)
        self._texts[:count] = _gathered(texts, next_places)
        self._collect(likely, texts, ended)
        for slot in range(count):
            self._made[slot] += 1
        done = self._done(ended)
        return Choice(tokens.gather(1, next_places), parents.gather(1, next_places), lambda: done)

    def _progress(self, count: int) -> list[Progress]:
        ngrams = [prompt.settings.no_repeat_ngram_size if prompt else 0 for prompt in self._prompts[:count]]
        made = self._made[:count]
        texts = self._texts[:count, :, : max(made)].tolist() if any(ngrams) else [[]] * count
        return [
            Progress([row[:length] for row in rows], length, limit, ngram)
            for rows, length, limit, ngram in zip(texts, made, self._limits[:count], ngrams, strict=True)
        ]

    def _collect(self, likely: Tensor, texts: Tensor, ended: Tensor) -> None:
        """Keep the best finished texts, those of this step included."""
        count = likely.shape[0]
        stops = self._stops_early(count)
        # Candidates after the first `width` only ensure that enough unfinished texts remain; they can't finish.
        ended = ended & (torch.arange(self._kept, device=ended.device) < self._width)
        score = likely / self._penalties([made + 1 for made in self._made[:count]], likely.device)
        full = self._best_ended[:count].all(dim=1, keepdim=True) & stops
        score = score + full.float() * _OUT + (~self._hope[:count]).float() * _OUT + (~ended).float() * _OUT
        all_scores = torch.cat((self._best_scores[:count], score), dim=1)
        best = all_scores.topk(self._width)[1]
        self._best_texts[:count] = _gathered(torch.cat((self._best_texts[:count], texts), dim=1), best)
        self._best_ended[:count] = torch.cat((self._best_ended[:count], ended), dim=1).gather(1, best)
        self._best_scores[:count] = all_scores.gather(1, best)

    def _done(self, ended: Tensor) -> dict[int, Sequences]:
        """Return the slots whose result can't improve any more, or that have no open beam."""
        count = ended.shape[0]
        lengths = []
        for slot in range(count):
            prompt, never = self._prompts[slot], self._rules.length_penalty > 0.0
            assert prompt is not None
            ahead = never and prompt.settings.early_stopping == "never"
            lengths.append(self._limits[slot] if ahead else self._made[slot])
        hoped = self._scores[:count, :1] / self._penalties(lengths, ended.device)
        worst = torch.where(self._best_ended[:count], self._best_scores[:count].amin(dim=1, keepdim=True), _OUT)
        self._hope[:count] &= (hoped > worst).any(dim=1, keepdim=True)
        full = self._best_ended[:count].all(dim=1, keepdim=True) & self._stops_early(count)
        over = ~self._hope[:count] | full | ended.all(dim=1, keepdim=True)
        found = {}
        for slot, is_over in enumerate(over[:, 0].tolist()):
            prompt = self._prompts[slot]
            if is_over and prompt is not None:
                texts = self._best_texts[slot, : prompt.settings.num_return_sequences, : self._limits[slot]].tolist()
                found[slot] = tuple(self._trimmed(text) for text in texts)
        return found

    def _penalties(self, lengths: list[int], device: torch.device) -> Tensor:
        return onto(device, torch.tensor([length**self._rules.length_penalty for length in lengths])).unsqueeze(1)

    def _stops_early(self, count: int) -> Tensor:
        settings = [prompt.settings.early_stopping is True for prompt in self._prompts[:count] if prompt]
        return onto(self._ends.device, torch.tensor(settings)).unsqueeze(1)

    def _trimmed(self, text: list[int]) -> tuple[int, ...]:
        place = next((place for place, token in enumerate(text) if token in self._rules.ends), len(text))
        return tuple(text[:place])


def _gathered(texts: Tensor, places: Tensor) -> Tensor:
    """Gather the texts of each slot by index, (slots, places, length)."""
    return texts.gather(1, places.unsqueeze(2).expand(-1, -1, texts.shape[2]))
