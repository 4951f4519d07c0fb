"""What the provider received, as the simulator's `describe` answer says it: the same words for every dialect."""

import json
from types import SimpleNamespace


def checksum(data):
    """The simulator's checksum of bytes that arrived (FNV-1a, 64 bits)."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


class Received:
    """A request, as the provider understood it."""

    def __init__(self, text):
        self.asked = json.loads(text)
        self.system = "\n".join(self.asked.get("system", []))
        self.stop = self.asked.get("stop", [])
        self.max_tokens = self.asked.get("max_tokens")
        self.parameters = self.asked.get("parameters", {})
        self.tools = {tool["name"]: tool["schema"] for tool in self.asked.get("tools", [])}
        choice = self.asked["tool_choice"]
        self.tool_choice = choice if isinstance(choice, str) else choice["among"]
        output = self.asked["output"]
        self.schema = output["schema"] if isinstance(output, dict) else None
        self.reasoning = self.asked.get("reasoning")

    @property
    def roles(self):
        return [turn["role"] for turn in self.asked["turns"]]

    def parts(self, kind):
        return [
            SimpleNamespace(**part, role=turn["role"])
            for turn in self.asked["turns"]
            for part in turn["parts"]
            if part["type"] == kind
        ]

    def texts(self, role):
        return [part.text for part in self.parts("text") if part.role == role]

    def media(self, kind):
        """Images, documents and sounds, also inside tool results, as (media type, address or checksum)."""
        inside = [media for result in self.parts("result") for media in map(lambda m: SimpleNamespace(**m), result.media)]
        return [
            (media.media_type, getattr(media, "url", None) or media.checksum)
            for media in [*self.parts("media"), *inside]
            if media.kind == kind
        ]
