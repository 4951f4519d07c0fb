// What the provider received, as the simulator's `describe` answer says it: the same words for every dialect.

/** The simulator's checksum of bytes that arrived (FNV-1a, 64 bits). */
export function checksum(bytes) {
  let value = 0xcbf29ce484222325n;
  for (const byte of bytes) value = BigInt.asUintN(64, (value ^ BigInt(byte)) * 0x100000001b3n);
  return value.toString(16).padStart(16, '0');
}

/** A request, as the provider understood it. */
export function received(text) {
  const asked = JSON.parse(text);
  const parts = (kind) =>
    asked.turns.flatMap(({ role, parts }) => parts.map((part) => ({ ...part, role }))).filter(({ type }) => type === kind);
  return {
    asked,
    system: (asked.system ?? []).join('\n'),
    stop: asked.stop ?? [],
    maxTokens: asked.max_tokens,
    parameters: asked.parameters ?? {},
    tools: Object.fromEntries((asked.tools ?? []).map((tool) => [tool.name, tool.schema])),
    toolChoice: asked.tool_choice.among ?? asked.tool_choice,
    schema: asked.output.schema,
    reasoning: asked.reasoning,
    roles: asked.turns.map((turn) => turn.role),
    parts,
    texts: (role) => parts('text').filter((part) => part.role === role).map((part) => part.text),
    /** Images, documents and sounds, also inside tool results, as [media type, address or checksum]. */
    media: (kind) =>
      [...parts('media'), ...parts('result').flatMap((part) => part.media)]
        .filter((media) => media.kind === kind)
        .map((media) => [media.media_type, media.url ?? media.checksum]),
  };
}
