// The lines, side by side: what was said, and each language. A line is heard by a click, and edited in its place.

import { guard, html, LitElement, nothing, repeat } from '../vendor/lit.js';
import { directionOf, nameOf, tagOf } from '../model/languages.js';
import { doubtOf, merged, split, textOf, TRANSCRIPT, withText } from '../model/segments.js';
import { clock } from '../model/time.js';
import { icon } from './icons.js';

export class TranscriptTable extends LitElement {
  static properties = {
    segments: {},
    columns: {}, // 'transcript' or a code
    spoken: {}, // the language of the recording, or null
    active: {}, // the index of the line that is heard
    following: {}, // whether to keep that line in view
    silent: {}, // there is no recording to play
    names: {}, // changes when the names of languages are there
    editing: { state: true }, // { key, column }
    cursor: { state: true }, // the key of the row whose buttons the Tab key reaches
  };

  createRenderRoot() {
    return this;
  }

  willUpdate() {
    const isThere = this.segments.some(({ key }) => key === this.cursor);
    this.reached = isThere ? this.cursor : this.segments[0].key;
    this.style.setProperty('--columns', this.columns.length);
  }

  updated(changed) {
    if (changed.has('active') && this.following && !this.editing) this.show(this.active);
    const field = this.querySelector('textarea');
    if (changed.has('editing') && field) {
      field.focus();
      field.setSelectionRange(field.value.length, field.value.length);
    }
  }

  row(index) {
    return this.querySelector(`[data-index="${index}"]`);
  }

  show(index) {
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.row(index)?.scrollIntoView({ block: 'nearest', behavior: calm ? 'auto' : 'smooth' });
  }

  /** Make a row the one that the keyboard is on. */
  focusRow(index) {
    this.show(index);
    this.row(index)?.querySelector('button')?.focus({ preventScroll: true });
  }

  #play(index) {
    this.dispatchEvent(new CustomEvent('play', { detail: this.segments[index].start }));
  }

  #change(at, count, segments) {
    const said = count > 1 ? 'Lines merged.' : segments.length > 1 ? 'Line split.' : 'Line saved.';
    this.dispatchEvent(new CustomEvent('lines', { detail: { at, count, segments, said } }));
  }

  #clicked(event, index) {
    if (event.target.closest('button, textarea') || !getSelection().isCollapsed) return;
    this.#play(index);
  }

  #edit(segment, column) {
    this.editing = { key: segment.key, column };
    this.dispatchEvent(new CustomEvent('editing'));
  }

  async #close(index, column) {
    this.editing = null;
    await this.updateComplete;
    this.row(index)?.querySelector(`[data-column="${column}"] button`)?.focus({ preventScroll: true });
  }

  #save(index, column, field) {
    const segment = this.segments[index];
    const text = field.value.replace(/\s+/g, ' ').trim();
    if (text !== textOf(segment, column) || doubtOf(segment, column)) {
      this.#change(index, 1, [withText(segment, column, text)]);
    }
    this.#close(index, column);
  }

  #splitAt(index, column, field) {
    const whole = withText(this.segments[index], column, field.value);
    this.#change(index, 1, split(whole, column, field.selectionStart));
    this.#close(index, column);
  }

  #typed(event, index, column) {
    const field = event.target;
    if (event.isComposing) return;
    if (event.key === 'Escape') this.#close(index, column);
    else if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.#splitAt(index, column, field);
    else if (event.key === 'Enter') this.#save(index, column, field);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Up and down go to the same button of the next row, so that Tab need not pass through them all. */
  #move(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const button = event.target.closest('button');
    if (!step || !button || event.altKey) return;
    const row = button.closest('tr');
    const place = [...row.querySelectorAll('button')].indexOf(button);
    const next = this.row(Number(row.dataset.index) + step);
    if (!next) return;
    event.preventDefault();
    next.querySelectorAll('button')[place]?.focus();
  }

  #editor(segment, index, column) {
    const field = (event) => event.currentTarget.closest('.editor').querySelector('textarea');
    const label = `${this.#title(column)}, ${clock(segment.start)}`;
    const left = ({ currentTarget, relatedTarget }) =>
      currentTarget.contains(relatedTarget) || !this.editing || this.#save(index, column, currentTarget.querySelector('textarea'));
    return html`<div class="editor" @focusout=${left}>
      <textarea rows="2" dir="auto" aria-label=${label} .value=${textOf(segment, column)}
        @keydown=${(event) => this.#typed(event, index, column)}></textarea>
      <div class="row">
        <button type="button" class="button small primary" @click=${(event) => this.#save(index, column, field(event))}>Save</button>
        <button type="button" class="button small" aria-keyshortcuts="Control+Enter"
          @click=${(event) => this.#splitAt(index, column, field(event))}>Split here</button>
        <button type="button" class="button small quiet" @click=${() => this.#close(index, column)}>Cancel</button>
      </div>
    </div>`;
  }

  #title(column) {
    if (column !== TRANSCRIPT) return nameOf(column);
    return this.spoken ? nameOf(this.spoken) : 'Spoken';
  }

  #cell(segment, index, column, stop) {
    const language = column === TRANSCRIPT ? segment.language : column;
    const { key, column: edited } = this.editing ?? {};
    const doubt = doubtOf(segment, column);
    const label = this.#title(column);
    if (segment.key === key && column === edited) {
      return html`<td role="cell" class="text" data-column=${column} dir=${directionOf(language)} lang=${tagOf(language) ?? nothing}>
        <span class="language" dir="ltr">${label}</span>
        ${this.#editor(segment, index, column)}
      </td>`;
    }
    return html`<td role="cell" class="text" data-column=${column} dir=${directionOf(language)}
      @dblclick=${() => this.#edit(segment, column)}>
      <span class="language" dir="ltr">${label}</span>
      <span class="said" lang=${tagOf(language) ?? nothing} dir="auto"
        ><span class="words ${doubt ? 'doubted' : ''}">${textOf(segment, column)}</span>${doubt ? this.#mark(doubt) : nothing}</span
      >
      <button type="button" class="bare edit" tabindex=${stop} aria-label="Edit ${label}, ${clock(segment.start)}" title="Edit"
        @click=${() => this.#edit(segment, column)}>
        ${icon('edit')}
      </button>
    </td>`;
  }

  #mark(doubt) {
    return html`&nbsp;<span class="doubt" lang="en" title=${doubt}><span class="hidden">Doubtful: ${doubt}</span></span>`;
  }

  /** All that a row depends on: of a long recording only what changed is rendered. */
  #shown(segment, index) {
    const edited = this.editing?.key === segment.key && this.editing.column;
    const isLast = index === this.segments.length - 1;
    const here = [segment, index, isLast, index === this.active, segment.key === this.reached, edited];
    return [...here, this.columns.join(), this.spoken, this.silent, this.names];
  }

  #line(segment, index) {
    const stop = segment.key === this.reached ? 0 : -1;
    const active = index === this.active;
    const last = index === this.segments.length - 1;
    const at = clock(segment.start);
    return html`<tr role="row" class="line ${active ? 'active' : ''}" data-index=${index} aria-current=${active ? 'true' : nothing}
      @click=${(event) => this.#clicked(event, index)} @focusin=${() => (this.cursor = segment.key)}>
      <td role="cell" class="time">
        <button type="button" class="bare clock" tabindex=${stop} aria-label="Play from ${at}" ?disabled=${this.silent}
          @click=${() => this.#play(index)}>${at}</button>
      </td>
      ${this.columns.map((column) => this.#cell(segment, index, column, stop))}
      <td role="cell" class="tools">
        <button type="button" class="bare" tabindex=${stop} aria-label="Split the line at ${at}" title="Split"
          @click=${() => this.#change(index, 1, split(segment))}>${icon('split')}</button>
        <button type="button" class="bare" tabindex=${stop} aria-label="Merge the line at ${at} with the next" title="Merge with the next"
          ?disabled=${last} @click=${() => this.#change(index, 2, [merged(segment, this.segments[index + 1])])}>${icon('merge')}</button>
      </td>
    </tr>`;
  }

  render() {
    return html`<table role="table" class="lines ${this.columns.length > 4 ? 'wide' : ''} ${this.silent ? 'silent' : ''}"
      aria-label="Lines" @keydown=${this.#move}>
      <thead role="rowgroup">
        <tr role="row">
          <th role="columnheader" scope="col" class="time">Time</th>
          ${this.columns.map(
            (column) =>
              html`<th role="columnheader" scope="col" dir=${directionOf(column === TRANSCRIPT ? this.spoken : column)}>
                ${this.#title(column)} ${column === TRANSCRIPT && this.spoken ? html`<small>spoken</small>` : nothing}
              </th>`,
          )}
          <th role="columnheader" scope="col" class="tools"><span class="hidden">Split and merge</span></th>
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${repeat(
          this.segments,
          ({ key }) => key,
          (segment, index) => guard(this.#shown(segment, index), () => this.#line(segment, index)),
        )}
      </tbody>
    </table>`;
  }
}

customElements.define('transcript-table', TranscriptTable);
