// Where a session starts: a recording, its languages, and what helps to hear it.

import { html, LitElement, nothing } from '../vendor/lit.js';
import { Microphone } from '../io/microphone.js';
import { clock, megabytes } from '../model/time.js';
import { icon } from './icons.js';
import './language-fields.js';

const DRAGGING = ['dragover', 'dragleave', 'drop'];

export class StartView extends LitElement {
  static properties = {
    model: {},
    choice: {}, // { file, source, targets, words, multilingual }
    microphone: { state: true },
    over: { state: true },
    problem: { state: true },
  };

  createRenderRoot() {
    return this;
  }

  constructor() {
    super();
    this.dragged = (event) => this.#dragged(event);
  }

  connectedCallback() {
    super.connectedCallback();
    for (const name of DRAGGING) addEventListener(name, this.dragged);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    for (const name of DRAGGING) removeEventListener(name, this.dragged);
    this.microphone?.stop();
    clearInterval(this.ticking);
  }

  /** A file may be dropped anywhere on the page. */
  #dragged(event) {
    if (this.microphone || !event.dataTransfer?.types.includes('Files')) return;
    if (event.type === 'drop') this.#take(event.dataTransfer.files);
    else this.over = event.type === 'dragover' || event.relatedTarget !== null;
  }

  #choose(change) {
    this.dispatchEvent(new CustomEvent('choose', { detail: change }));
  }

  #take(files) {
    this.over = false;
    const [file] = files;
    if (!file) return;
    const most = this.model?.limits.max_file_bytes;
    this.problem =
      most && file.size > most ? `${file.name} is ${megabytes(file.size)}; this server takes up to ${megabytes(most)}.` : '';
    if (!this.problem) this.#choose({ file });
  }

  async #record() {
    this.problem = '';
    try {
      this.microphone = await Microphone.open();
      this.ticking = setInterval(() => this.requestUpdate(), 100);
    } catch (error) {
      this.problem = error.message;
    }
  }

  async #recorded() {
    clearInterval(this.ticking);
    const { microphone } = this;
    this.microphone = null;
    this.#choose({ file: await microphone.stop() });
  }

  #begin(event) {
    event.preventDefault();
    if (this.choice.file && !this.microphone) this.dispatchEvent(new CustomEvent('begin'));
  }

  #source() {
    if (this.microphone) return this.#recording();
    return this.choice.file ? this.#chosen(this.choice.file) : this.#empty();
  }

  #empty() {
    return html`${icon('wave')}
      <p class="lead">Drop a recording here</p>
      <p class="soft">Audio or video, in any format</p>
      <div class="row">
        <label class="button primary file">
          ${icon('file')}<span>Choose a file</span>
          <input type="file" accept="audio/*,video/*,.mkv,.opus,.amr" @change=${(event) => this.#take(event.target.files)} />
        </label>
        <button type="button" class="button" @click=${() => this.#record()}>${icon('microphone')}<span>Record</span></button>
      </div>`;
  }

  #recording() {
    return html`<meter class="level" min="0" max="1" value=${this.microphone.level} aria-label="Loudness"></meter>
      <p class="lead" role="timer"><span class="dot"></span>${clock(this.microphone.seconds)}</p>
      <p class="soft">Recording from the microphone</p>
      <div class="row">
        <button type="button" class="button primary" @click=${() => this.#recorded()}>${icon('stop')}<span>Stop</span></button>
      </div>`;
  }

  #chosen(file) {
    return html`${icon('file')}
      <p class="lead name" dir="auto">${file.name}</p>
      <p class="soft">${megabytes(file.size)}</p>
      <div class="row">
        <button type="button" class="button" @click=${() => this.#choose({ file: null })}>Choose another</button>
      </div>`;
  }

  /** Nothing where Whisper writes the transcripts: its decoder takes no words. */
  #words() {
    if (!this.model?.takes_keywords) return nothing;
    return html`<div class="field">
      <label for="words">Words to expect</label>
      <input id="words" .value=${this.choice.words} aria-describedby="words-hint" autocomplete="off"
        @input=${(event) => this.#choose({ words: event.target.value })} />
      <p id="words-hint" class="hint">Names and terms that may be said, with commas between.</p>
    </div>`;
  }

  #options() {
    return html`<details class="options">
      <summary>More options</summary>
      ${this.#words()}
      <label class="check" ?hidden=${!this.model?.detects_language}>
        <input type="checkbox" .checked=${this.choice.multilingual && !this.choice.source} ?disabled=${Boolean(this.choice.source)}
          @change=${(event) => this.#choose({ multilingual: event.target.checked })} />
        <span>Several languages are spoken</span>
      </label>
    </details>`;
  }

  render() {
    const { file, targets } = this.choice;
    return html`<form class="start" @submit=${this.#begin}>
      <h1>Read a recording in several languages</h1>
      <p class="intro">Lines appear as they are heard, side by side. Listen, correct, download.</p>
      <div class="drop ${this.over ? 'over' : ''} ${file && !this.microphone ? 'filled' : ''}">${this.#source()}</div>
      ${this.problem ? html`<p class="wrong" role="alert">${this.problem}</p>` : nothing}
      ${this.model
        ? html`<language-fields class="fields" .model=${this.model} .source=${this.choice.source} .targets=${targets}
            @languages=${(event) => this.#choose(event.detail)}></language-fields>`
        : nothing}
      ${this.#options()}
      <button class="button primary large" ?disabled=${!file || !this.model || Boolean(this.microphone)}>
        ${targets.length ? 'Translate' : 'Transcribe'}
      </button>
    </form>`;
  }
}

customElements.define('start-view', StartView);
