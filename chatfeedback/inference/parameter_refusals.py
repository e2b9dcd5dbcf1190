"""Refusals of parameters: which parameters of a request a server does not accept, in the words of its error.

OpenAI and Azure name the parameter in `param`, FastAPI servers and Mistral in `loc`; Gemini, Groq, llama.cpp and most
gateways only in the sentence. A refusal of a parameter differs from that of a value that is out of range: the first is
answered with another request, the second is for the person who has set the value.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from chatfeedback.inference.error_body import Refusal

PARAMETERS = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "random_seed", "stop",
              "stream_options", "stream")  # fmt: skip
"""Parameters that a request can do without, or has under another name."""

_UNSUPPORTED_CODE = re.compile(
    r"unsupported_(parameter|value|field)|unknown_(parameter|field)|extra_forbidden|value_error\.extra", re.IGNORECASE
)
_UNSUPPORTED = re.compile(
    r"unsupported|not (yet )?(be )?(supported|permitted|allowed|accepted|recogni[sz]ed|available|implemented|enabled)"
    r"|(does|do|is|are)(n't| not) (support|accept|allow|recogni[sz]e|have|a valid|compatible)"
    r"|extra (inputs|fields)|extraneous|additional (property|properties)"
    r"|unrecogni[sz]ed|unknown|unexpected|cannot find field"
    r"|no such (field|parameter|argument)|deprecated|incompatible|only the default|\bonly \S+ is (allowed|supported)"
    r"|only (be )?(allowed|used|set|supported|valid)|must be (set to |equal to |exactly )?1(\.0)?\b(?!.\d)",
    re.IGNORECASE,
)
_CONFLICT = re.compile(
    r"cannot both|can ?not be (used|specified|set|combined) (together|with)|mutually exclusive|only one of"
    r"|not both|at the same time",
    re.IGNORECASE,
)
_OUT_OF_RANGE = re.compile(
    r"must be|should be|between|(greater|less|more|lower|higher|larger|smaller) than|at (least|most)|range"
    r"|too (large|big|small|high|low|long)|maximum|minimum|exceed|above|below|[<>≤≥]",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[.;!]\s+|\n")
_ALTERNATIVES = re.compile(
    r"did you mean|\bexpected|known properties"
    r"|(supported|valid|allowed|permitted) (parameters|fields|values|properties)"
    r"|\buse\b|\btry\b|\binstead",
    re.IGNORECASE,
)
"""Beginning of a list of what is accepted."""
_NAMES = {
    name: re.compile(rf"(?<![\w-]){name.replace('_', '[ _]?')}(?![\w-])", re.IGNORECASE)
    for name in PARAMETERS
    if name not in ("stream", "stop")
} | {
    # Words of everyday English count only where they are clearly names.
    "stream": re.compile(
        r"(?<![\w-])['\"`]stream['\"`]|(?:^|parameter:? |argument |field |property )stream(?![\w-])"
        r"|streaming( \w+)? (is |are )?(not|unsupported)|not support (\w+ )?stream(ing)?(?![\w-])|to stream this model",
        re.IGNORECASE,
    ),
    "stop": re.compile(r"['\"`]stop['\"`]|(?:^|parameter:? |argument |field |property )stop(?![\w-])", re.IGNORECASE),
}
_NO_SYSTEM_ROLE = re.compile(
    r"system[ _-]?(role|message|prompt|instruction)s?\b[^.]{0,60}?(n't|\bnot|\bun)[ _]?(yet )?(be )?"
    r"(support|allow|permit|enabl|accept|recogni)"
    r"|not (support|accept|allow) (an? |the )?['\"`]?(system|developer)\b"
    r"|(unsupported|unknown|unexpected|unrecognized|invalid) role\b[^.]{0,20}system"
    r"|role ['\"`]?system['\"`]? (is |was )?(not|invalid|unsupported|unknown)"
    r"|['\"`]system['\"`] is not (one of|supported|allowed|a valid)"
    r"|developer instruction is not enabled"
    r"|only ((?!system)[^.]){0,40}\bassistant ((?!system)[^.]){0,20}?roles? (are|is)(?!.{0,80}system)"
    r"|conversation roles must alternate"
    r"|messages(\[|\.)0\]?\.role",
    re.IGNORECASE,
)
_NOT_OF_A_REQUEST = (401, 402, 403, 404, 405, 408, 413, 429)
"""Statuses of refusals that no other request would change."""


def refused_parameters(refusal: Refusal, sent: Collection[str]) -> tuple[str, ...]:
    """Return which of the parameters `sent` the server does not accept; of two that exclude each other, the last."""
    if refusal.status in _NOT_OF_A_REQUEST:
        return ()
    candidates = [name for name in PARAMETERS if name in sent]
    if _UNSUPPORTED_CODE.search(refusal.code):
        fields = [field.rpartition(".")[2] for field in refusal.fields]
        if named := [name for name in candidates if name in fields]:
            return tuple(named)
    names = list[str]()
    for clause in _CLAUSE_END.split(refusal.words):
        names += [name for name in _refused_in(clause, candidates) if name not in names]
    return tuple(names)


def _refused_in(clause: str, candidates: Collection[str]) -> list[str]:
    if _CONFLICT.search(clause):
        named = _named_in(clause, candidates)
        return named[-1:] if len(named) > 1 else named
    if not _UNSUPPORTED.search(clause):
        return []
    # A fixed value is a refusal of the parameter: leaving it out has the same effect.
    without_fixed = re.sub(_UNSUPPORTED, "", clause)
    if _OUT_OF_RANGE.search(_ALTERNATIVES.split(without_fixed)[0]):
        return []
    return _named_in(_ALTERNATIVES.split(clause)[0], candidates)


def named_settings(refusal: Refusal) -> tuple[str, ...]:
    """Return the sampling settings that the words or fields of a refusal name."""
    text = " ".join([refusal.words, *refusal.fields])
    return tuple(_named_in(text, ("temperature", "top_p", "max_tokens")))


def _named_in(text: str, candidates: Collection[str]) -> list[str]:
    """Return the names in the text, in the order of the text."""
    positions = {name: match.start() for name in candidates if (match := _NAMES[name].search(text))}
    return sorted(positions, key=positions.__getitem__)


def mentions(refusal: Refusal, name: str) -> bool:
    """Return True if the words of a refusal contain the name of a parameter."""
    return bool(_NAMES[name].search(refusal.words))


def refuses_system_role(refusal: Refusal) -> bool:
    """Return True if the model, mostly its chat template, does not take messages of the system."""
    if refusal.status in _NOT_OF_A_REQUEST or "optional system message" in refusal.words.lower():
        return False
    return bool(_NO_SYSTEM_ROLE.search(" ".join([refusal.words, *refusal.fields])))
