// Which file to download: its format, and the language or languages in it.

import { html, LitElement, nothing } from '../vendor/lit.js';
import { subtitles } from '../io/api.js';
import { fileName, FORMATS, toJson, toTable, toText, typeOf } from '../model/formats.js';
import { nameOf } from '../model/languages.js';
import { spokenLanguage, TRANSCRIPT } from '../model/segments.js';

export class DownloadDialog extends LitElement {
  static properties = {
    session: {},
    columns: {},
    format: { state: true },
    chosen: { state: true }, // columns with commas between, as the value of a radio button
    divide: { state: true },
    problem: { state: true },
    busy: { state: true },
  };

  constructor() {
    super();
    this.format = 'srt';
    this.divide = true;
  }

  createRenderRoot() {
    return this;
  }

  open() {
    this.problem = '';
    const { single, both } = this.#choices();
    const all = [...single, ...both].map(([value]) => value);
    if (!all.includes(this.chosen)) this.chosen = all.find((value) => value !== TRANSCRIPT) ?? all[0];
    this.querySelector('dialog').showModal();
  }

  #choices() {
    const { columns } = this;
    const spoken = spokenLanguage(this.session.history.segments);
    const title = (column) => (column === TRANSCRIPT ? (spoken ? nameOf(spoken) : 'What is said') : nameOf(column));
    const single = columns.map((column) => [column, title(column)]);
    const translated = columns.includes(TRANSCRIPT) ? columns.filter((column) => column !== TRANSCRIPT) : [];
    const both = translated.map((column) => [`${column},${TRANSCRIPT}`, `${title(column)} + ${title(TRANSCRIPT)}`]);
    return { single, both };
  }

  async #content(columns) {
    const { segments } = this.session.history;
    if (this.format === 'json') return toJson(this.session);
    if (this.format === 'txt') return toText(segments, columns);
    if (this.format === 'tsv') return toTable(segments, columns);
    const spoken = spokenLanguage(segments);
    const transcriptAlone = columns.length === 1 && columns[0] === TRANSCRIPT;
    const languages = transcriptAlone ? [] : columns.map((column) => (column === TRANSCRIPT ? spoken : column));
    return subtitles(segments, this.format, languages, this.divide);
  }

  async #download(event) {
    event.preventDefault();
    const columns = this.chosen.split(',');
    this.busy = true;
    try {
      const file = new Blob([await this.#content(columns)], { type: typeOf(this.format) });
      const link = document.createElement('a');
      link.href = URL.createObjectURL(file);
      link.download = fileName(this.session, this.format, columns);
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      this.#shut();
    } catch (error) {
      this.problem = error.message;
      if (error.status === 401) this.dispatchEvent(new CustomEvent('key'));
    }
    this.busy = false;
  }

  #shut() {
    this.querySelector('dialog').close();
  }

  #radio(name, value, label, chosen, choose) {
    return html`<label class=${name === 'format' ? 'pill' : 'check'}>
      <input type="radio" name=${name} value=${value} .checked=${value === chosen} @change=${() => choose(value)} />
      <span>${label}</span>
    </label>`;
  }

  #languages() {
    const { single, both } = this.#choices();
    const radio = ([value, label]) =>
      this.#radio('columns', value, label, this.chosen, (columns) => (this.chosen = columns));
    return html`<div class="languages" role="radiogroup" aria-label="Language">
      <div><p class="caption">One language</p>${single.map(radio)}</div>
      ${both.length ? html`<div><p class="caption">Two together</p>${both.map(radio)}</div>` : nothing}
    </div>`;
  }

  render() {
    const isSubtitle = this.format === 'srt' || this.format === 'vtt';
    return html`<dialog aria-labelledby="download-title" @click=${(event) => event.target.localName === 'dialog' && this.#shut()}>
      <form class="panel" @submit=${this.#download}>
        <h2 id="download-title">Download</h2>
        <fieldset class="field">
          <legend>Format</legend>
          <div class="pills">
            ${FORMATS.map((format) =>
              this.#radio('format', format, format.toUpperCase(), this.format, (value) => (this.format = value)),
            )}
          </div>
        </fieldset>
        ${this.format === 'json'
          ? html`<p class="hint">One file with all languages, times and how sure the model was.</p>`
          : this.#languages()}
        ${isSubtitle
          ? html`<label class="check divide">
              <input type="checkbox" .checked=${this.divide} @change=${(event) => (this.divide = event.target.checked)} />
              <span>Divide long lines so that they can be read in time</span>
            </label>`
          : nothing}
        ${this.problem ? html`<p class="wrong" role="alert">${this.problem}</p>` : nothing}
        <div class="row end">
          <button type="button" class="button quiet" @click=${() => this.#shut()}>Cancel</button>
          <button class="button primary" ?disabled=${this.busy}>Download</button>
        </div>
      </form>
    </dialog>`;
  }
}

customElements.define('download-dialog', DownloadDialog);
