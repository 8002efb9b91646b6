// The segments with all that was done to them: each edit is a splice, so undoing one never loses what was heard since.

let lastKey = 0;

const keyed = (segment) => (segment.key ? segment : { ...segment, key: ++lastKey });

export class History {
  segments = [];
  past = [];
  future = [];

  static fromStored({ segments, past, future }) {
    const keys = [segments, ...[...past, ...future].flatMap(({ before, after }) => [before, after])].flat();
    lastKey = Math.max(lastKey, 0, ...keys.map(({ key }) => key));
    return Object.assign(new History(), { segments, past, future });
  }

  /** A segment that was just heard; nothing to undo. */
  append(segment) {
    this.segments = [...this.segments, keyed(segment)];
  }

  /** Put others in the place of `count` segments. The first of them stays the same row. */
  replace(at, count, segments) {
    const before = this.segments.slice(at, at + count);
    const after = segments.map((segment, number) =>
      number === 0 ? { ...segment, key: before[0].key } : keyed({ ...segment, key: undefined }),
    );
    this.#splice(at, count, after);
    this.past = [...this.past, { at, before, after }];
    this.future = [];
  }

  /** The index of the row that changed back; null where there is nothing to undo. */
  undo() {
    const edit = this.past.at(-1);
    if (!edit) return null;
    this.#splice(edit.at, edit.after.length, edit.before);
    this.past = this.past.slice(0, -1);
    this.future = [...this.future, edit];
    return edit.at;
  }

  redo() {
    const edit = this.future.at(-1);
    if (!edit) return null;
    this.#splice(edit.at, edit.before.length, edit.after);
    this.future = this.future.slice(0, -1);
    this.past = [...this.past, edit];
    return edit.at;
  }

  #splice(at, count, segments) {
    this.segments = [...this.segments.slice(0, at), ...segments, ...this.segments.slice(at + count)];
  }
}
