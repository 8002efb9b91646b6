// Server-sent events out of text that comes in pieces. EventSource cannot POST, nor send a key.

export class EventReader {
  #rest = '';

  /** The events that a further piece completes, parsed; comments and `[DONE]` are left out. */
  read(text) {
    const blocks = (this.#rest + text).split(/\r?\n\r?\n/);
    this.#rest = blocks.pop();
    return blocks
      .map((block) =>
        block
          .split(/\r?\n/)
          .filter((line) => line.startsWith('data:'))
          .map((line) => line.slice(5).trim())
          .join('\n'),
      )
      .filter((data) => data && data !== '[DONE]')
      .map((data) => JSON.parse(data));
  }
}
