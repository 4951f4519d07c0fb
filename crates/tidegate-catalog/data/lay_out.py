#!/usr/bin/env python3
"""Lays the published model facts out anew as `models.txt`: `python3 lay_out.py path/to/models.jsonl`.

Only providers that `providers.toml` knows, by id or alias, are taken over. `models.txt` is a section a provider, a line a model:

    name mode [context=N] [output=N] [dimensions=N] [retires=DATE] [can=a,b] [standard:input=D,output=D] [batch:...] [unit:...] [search=D]

Prices are US dollars, as published: per million tokens in the tiers, per single unit behind `unit:` and `search=`.
"""

import json
import pathlib
import sys
import tomllib
from decimal import ROUND_HALF_UP, Decimal

HERE = pathlib.Path(__file__).parent
TIERS = ["standard", "batch", "flex", "priority", "above_128k", "above_200k", "above_272k"]
KINDS = ["input", "output", "cache_read", "cache_read_audio", "cache_write_5m", "cache_write_1h", "input_audio", "input_image_token",
         "output_audio", "output_image_token", "reasoning"]
UNITS = ["per_image_in", "per_image_out", "per_pixel_in", "per_pixel_out", "per_second_in", "per_second_out", "per_character_in", "per_query"]
# Prices are kept in nano-dollars per million: a token price has at most nine decimals, a unit price fifteen.
TOKEN_DECIMALS, UNIT_DECIMALS = 9, 15


def number(value, decimals):
    exact = Decimal(str(value))
    rounded = exact.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
    if decimals == TOKEN_DECIMALS and rounded != exact:
        sys.exit(f"{value} does not fit into {decimals} decimals")
    text = format(rounded.normalize(), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def merge(lines):
    """One model from the lines that name it: a price stands only if every line agrees with it or is silent about it."""
    model = dict(lines[0])
    for line in lines[1:]:
        for field, value in line.items():
            model.setdefault(field, value)
        model["capabilities"] = sorted({*model.get("capabilities", []), *line.get("capabilities", [])})
        mine, theirs = (x.get("usd_per_million_tokens", {}) for x in (model, line))
        total = lambda tiers: [tiers.get("standard", {}).get(kind) for kind in ("input", "output")]
        if mine and theirs and total(mine) != total(theirs):
            model["usd_per_million_tokens"] = {}
            print(f"no price, the facts disagree: {model['provider']}/{model['model']}", file=sys.stderr)
        else:
            model["usd_per_million_tokens"] = {
                tier: {kind: price for kind, price in mine.get(tier, theirs.get(tier, {})).items()
                       if theirs.get(tier, {}).get(kind, price) == price and (not theirs or mine == theirs or kind in theirs.get(tier, {}))}
                for tier in mine or theirs
            }
    return model


def tiers_of(model, local):
    tiers = {tier: dict(kinds) for tier, kinds in (model.get("usd_per_million_tokens") or {}).items()}
    free = tiers and not any(price for kinds in tiers.values() for price in kinds.values())
    # Zeros beside a price a unit, or without a page that says "free", are gaps in the facts. Priced at zero they would be silently wrong.
    if free and not local and (model.get("usd_per_unit") or not model.get("source")):
        return {}
    # Anthropic: "these multipliers stack with other pricing modifiers such as the Batch API discount". The facts list the five-minute
    # write of the batch tier but not the hour's.
    if model["provider"] == "anthropic" and "batch" in tiers and "cache_write_1h" in tiers["standard"]:
        share = Decimal(str(tiers["batch"]["input"])) / Decimal(str(tiers["standard"]["input"]))
        tiers["batch"].setdefault("cache_write_1h", Decimal(str(tiers["standard"]["cache_write_1h"])) * share)
    return tiers


def line_of(model, local):
    words = [model["model"], model["mode"]]
    for word, field in (("context", "max_input_tokens"), ("output", "max_output_tokens"), ("dimensions", "embedding_dimensions"),
                        ("retires", "deprecation_date")):
        value = model.get(field)
        if value and (field == "deprecation_date" or int(value) == value):
            words.append(f"{word}={value if field == 'deprecation_date' else int(value)}")
    if model.get("capabilities"):
        words.append("can=" + ",".join(sorted(model["capabilities"])))
    tiers = tiers_of(model, local)
    for tier in TIERS:
        if tiers.get(tier):
            words.append(f"{tier}:" + ",".join(f"{kind}={number(tiers[tier][kind], TOKEN_DECIMALS)}" for kind in KINDS if kind in tiers[tier]))
    units = {unit: price for unit, price in (model.get("usd_per_unit") or {}).items() if price}
    if units:
        words.append("unit:" + ",".join(f"{unit}={number(units[unit], UNIT_DECIMALS)}" for unit in UNITS if unit in units))
    search = model.get("usd_per_web_search")
    # A search at Anthropic costs the same with every model for which the facts list it, and works with the others too.
    if not search and model["provider"] == "anthropic" and model["mode"] == "chat":
        search = {"medium": 0.01}
    if search:
        # Prices differ by the size of the searched context at a few models; `medium` is what providers default to.
        words.append("search=" + number(search.get("medium", search.get("low", search.get("high"))), UNIT_DECIMALS))
    known = set(TIERS), set(KINDS), set(UNITS)
    for seen, allowed in zip((set(tiers), {k for t in tiers.values() for k in t}, set(units)), known):
        if seen - allowed:
            sys.exit(f"{model['provider']}/{model['model']}: not known yet: {seen - allowed}")
    if any(character.isspace() for word in words for character in word):
        sys.exit(f"{model['provider']}/{model['model']}: a name with a space in it")
    return " ".join(words)


def main(facts):
    providers = tomllib.loads((HERE / "providers.toml").read_text())
    known_as = {name: provider for provider, entry in providers.items() for name in (provider, *entry.get("aliases", []))}
    found = {}
    for text in pathlib.Path(facts).read_text().splitlines():
        line = json.loads(text)
        if line["provider"] in known_as:
            found.setdefault(known_as[line["provider"]], {}).setdefault(line["model"], []).append(line)
    out = ["# Written by lay_out.py from published facts: do not edit by hand. Its documentation describes the format."]
    for provider in sorted(found):
        out += ["", f"[{provider}]"]
        local = not providers[provider].get("needs_key", True)
        out += [line_of(merge(found[provider][name]), local) for name in sorted(found[provider])]
    (HERE / "models.txt").write_text("\n".join(out) + "\n")
    print(sum(map(len, found.values())), "models of", len(found), "providers")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
