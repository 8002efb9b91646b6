// Live captions from the microphone: what is sure stands, what may still change is dim. What ends becomes a session.

import { html, LitElement, nothing, repeat } from '../vendor/lit.js';
import { Microphone } from '../io/microphone.js';
import { Realtime } from '../io/realtime.js';
import { directionOf, nameOf, tagOf } from '../model/languages.js';
import { segmentFrom, textOf, TRANSCRIPT } from '../model/segments.js';
import { clock } from '../model/time.js';
import { icon } from './icons.js';
import './language-fields.js';

export class LiveView extends LitElement {
  static properties = {
    model: {},
    choice: {},
    replaced: {}, // the name of the session that a new one takes the place of
    state: { state: true }, // idle, opening, on, ending
    segments: { state: true },
    open: { state: true }, // the partial that is being spoken
    problem: { state: true },
  };

  constructor() {
    super();
    this.state = 'idle';
    this.segments = [];
    this.leaving = (event) => this.running && event.preventDefault(); // browsers ask then
  }

  createRenderRoot() {
    return this;
  }

  connectedCallback() {
    super.connectedCallback();
    addEventListener('beforeunload', this.leaving);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    removeEventListener('beforeunload', this.leaving);
    if (this.running) this.#stop();
  }

  get running() {
    return this.state !== 'idle';
  }

  async #start() {
    Object.assign(this, { problem: '', segments: [], open: null, state: 'opening' });
    const on = {
      ready: () => (this.state = 'on'),
      partial: (event) => (this.open = event),
      final: (event) => {
        this.open = null;
        const segment = segmentFrom({ ...event, text: event.transcript });
        if (segment.text || Object.values(segment.translations).some(Boolean)) this.segments = [...this.segments, segment];
      },
      failed: (error) => this.#failed(error),
    };
    try {
      this.microphone = await Microphone.open((samples) => this.realtime?.send(samples));
    } catch (error) {
      Object.assign(this, { problem: error.message, state: 'idle' });
      return;
    }
    if (!this.isConnected) {
      await this.microphone.stop();
      return;
    }
    try {
      this.realtime = new Realtime(this.#transcription(), on);
    } catch (error) {
      this.#failed(error);
      return;
    }
    this.ticking = setInterval(() => this.requestUpdate(), 100);
  }

  #transcription() {
    const { source, targets, words } = this.choice;
    const expected = this.model.takes_keywords ? words : '';
    const keywords = expected.split(/[,\n]/).map((word) => word.trim()).filter(Boolean);
    const spoken = source ? { language: source } : {};
    return { model: this.model.id, ...spoken, target_languages: targets, partials: true, ...(keywords.length ? { keywords } : {}) };
  }

  async #failed(error) {
    if (this.state === 'idle') return;
    if (error.status === 401) this.dispatchEvent(new CustomEvent('key'));
    const heard = this.segments.length;
    if (heard && this.microphone) {
      await this.#finish(error);
      return;
    }
    clearInterval(this.ticking);
    Object.assign(this, { state: 'idle', problem: error.message, realtime: null });
    await this.microphone?.stop();
    this.microphone = null;
  }

  async #stop() {
    this.state = 'ending';
    await this.realtime?.end();
    await this.#finish(null);
  }

  async #finish(error) {
    clearInterval(this.ticking);
    const { microphone, segments } = this;
    if (!microphone) return;
    this.microphone = null;
    const duration = microphone.seconds;
    const file = await microphone.stop();
    Object.assign(this, { state: 'idle', open: null, realtime: null });
    if (segments.length) this.dispatchEvent(new CustomEvent('finished', { detail: { file, segments, duration, error } }));
    else this.problem = 'Nothing was heard. Is the right microphone chosen?';
  }

  updated() {
    const box = this.querySelector('.captions');
    if (box) box.scrollTop = box.scrollHeight;
  }

  get columns() {
    const { targets } = this.choice;
    return this.model?.writes_transcripts === false && targets.length ? targets : [TRANSCRIPT, ...targets];
  }

  /** Lines of all languages beside one another; the last may still be spoken. */
  #captions() {
    const { columns, open, segments } = this;
    const spoken = this.choice.source || open?.language || segments.at(-1)?.language;
    const title = (column) => (column === TRANSCRIPT ? (spoken ? nameOf(spoken) : 'Spoken') : nameOf(column));
    const line = (language, text) =>
      html`<div class="caption-line">
        ${columns.map((column) => {
          const code = column === TRANSCRIPT ? language : column;
          return html`<div dir=${directionOf(code)}>
            <span class="language" dir="ltr">${title(column)}</span>
            <p dir="auto" lang=${tagOf(code) ?? nothing}>${text(column)}</p>
          </div>`;
        })}
      </div>`;
    const partly = (column) => {
      const part = column === TRANSCRIPT ? open.transcript : open.translations?.[column];
      return part ? html`${part.stable}<span class="tentative">${part.tentative}</span>` : '…';
    };
    return html`<div class="captions ${columns.length > 3 ? 'many' : ''}" role="region" aria-label="Captions" tabindex="0">
      <div class="caption-line titles">
        ${columns.map((column) => html`<span dir=${directionOf(column === TRANSCRIPT ? spoken : column)}>${title(column)}</span>`)}
      </div>
      ${repeat(segments, ({ start }) => start, (segment) => line(segment.language, (column) => textOf(segment, column)))}
      ${open ? line(open.language ?? spoken, partly) : nothing}
      ${open || segments.length ? nothing : html`<p class="soft">What you say appears here.</p>`}
    </div>`;
  }

  #controls() {
    const status = { opening: 'Connecting', on: 'Listening', ending: 'Finishing the last line' }[this.state];
    return html`<div class="live-bar">
      <span class="dot ${this.state === 'on' ? '' : 'waiting'}"></span>
      <span role="status">${status}</span>
      <span class="clocks" role="timer">${clock(this.microphone?.seconds ?? 0)}</span>
      <meter class="level" min="0" max="1" value=${this.microphone?.level ?? 0} aria-label="Loudness"></meter>
      <button type="button" class="button primary" ?disabled=${this.state !== 'on'} @click=${() => this.#stop()}>
        ${icon('stop')}<span>Stop</span>
      </button>
    </div>`;
  }

  render() {
    if (this.running) return html`<div class="live"><h1 class="hidden">Live captions</h1>${this.#controls()}${this.#captions()}</div>`;
    return html`<form class="start" @submit=${(event) => (event.preventDefault(), this.#start())}>
      <h1>Live captions</h1>
      <p class="intro">Speak, and read it in other languages as you go. What was said can be heard and corrected afterwards.</p>
      ${this.problem ? html`<p class="wrong" role="alert">${this.problem}</p>` : nothing}
      ${this.model
        ? html`<language-fields class="fields" .model=${this.model} .source=${this.choice.source} .targets=${this.choice.targets}
            @languages=${(event) => this.dispatchEvent(new CustomEvent('choose', { detail: event.detail }))}></language-fields>`
        : nothing}
      <button class="button primary large" ?disabled=${!this.model}>${icon('microphone')}<span>Start listening</span></button>
      ${this.replaced
        ? html`<p class="hint">The lines of “${this.replaced}” are replaced by the new ones: download them first if you need them.</p>`
        : nothing}
    </form>`;
  }
}

customElements.define('live-view', LiveView);
