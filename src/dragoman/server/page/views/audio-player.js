// The recording, its waveform, and where it is. The file stays in the browser: it is played from there.

import { html, LitElement, nothing } from '../vendor/lit.js';
import { peaksOf } from '../io/peaks.js';
import { nameOf, tagOf } from '../model/languages.js';
import { doubtOf, textOf, TRANSCRIPT } from '../model/segments.js';
import { clock } from '../model/time.js';
import { icon } from './icons.js';

const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 2];
const [BAR, GAP] = [2, 1.5]; // of the waveform, in CSS pixels

export class AudioPlayer extends LitElement {
  static properties = {
    file: {},
    segments: {},
    columns: {},
    captions: { state: true }, // the column that is shown on a picture; none: ''
    playing: { state: true },
    seconds: { state: true },
    duration: { state: true },
    unplayable: { state: true },
    pictureless: { state: true }, // a video's file without a picture in it
  };

  constructor() {
    super();
    this.seconds = 0;
    this.duration = 0;
    this.scheme = matchMedia('(prefers-color-scheme: dark)');
    this.redraw = () => this.#draw();
    this.resized = new ResizeObserver(this.redraw);
  }

  createRenderRoot() {
    return this;
  }

  connectedCallback() {
    super.connectedCallback();
    this.scheme.addEventListener('change', this.redraw);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.scheme.removeEventListener('change', this.redraw);
    this.resized.disconnect();
    URL.revokeObjectURL(this.url);
  }

  get media() {
    return this.querySelector('audio, video');
  }

  willUpdate(changed) {
    if (changed.has('segments')) this.marks = this.segments.map(({ start, end, ...segment }) => [start, end, isDoubted(segment)]);
    if (!changed.has('file') || !this.file) return;
    URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(this.file);
    this.peaks = null;
    const { file } = this;
    peaksOf(file).then((found) => {
      if (file !== this.file || !found) return;
      this.peaks = found.peaks;
      this.#know(found.seconds);
      this.#draw();
    });
  }

  firstUpdated() {
    this.resized.observe(this.querySelector('canvas'));
  }

  updated(changed) {
    this.#draw();
    if (changed.has('segments') || changed.has('captions')) this.#caption();
  }

  /** From a time on. */
  play(seconds) {
    this.seek(seconds);
    this.#start();
  }

  pause() {
    this.media.pause();
  }

  toggle() {
    if (this.media.paused) this.#start();
    else this.media.pause();
  }

  #start() {
    // to be paused before the sound began is no failure
    this.media.play().catch(({ name }) => (this.unplayable ||= name === 'NotSupportedError'));
  }

  seek(seconds) {
    this.media.currentTime = this.seconds = Math.min(Math.max(0, seconds), this.duration || seconds);
    this.#tell();
  }

  get shown() {
    return this.captions ?? this.columns.find((column) => column !== TRANSCRIPT) ?? TRANSCRIPT;
  }

  /** A column's texts on the picture, where there is one. */
  #caption() {
    if (this.media?.localName !== 'video') return;
    this.track ??= this.media.addTextTrack('captions', 'Dragoman', tagOf(this.shown) ?? '');
    this.track.mode = this.shown ? 'showing' : 'hidden';
    for (const cue of [...this.track.cues]) this.track.removeCue(cue);
    for (const segment of this.shown ? this.segments : []) {
      this.track.addCue(new VTTCue(segment.start, segment.end, escaped(textOf(segment, this.shown))));
    }
  }

  #captionsField() {
    const options = [...this.columns.map((column) => [column, column === TRANSCRIPT ? 'Spoken' : nameOf(column)]), ['', 'Off']];
    return html`<select class="speed" aria-label="Captions on the picture" @change=${(event) => (this.captions = event.target.value)}>
      ${options.map(([value, label]) => html`<option value=${value} ?selected=${value === this.shown}>${label}</option>`)}
    </select>`;
  }

  #know(seconds) {
    if (!Number.isFinite(seconds) || this.duration) return; // a browser's own recordings do not tell how long they are
    this.duration = seconds;
    this.dispatchEvent(new CustomEvent('duration', { detail: seconds }));
  }

  #tell() {
    this.dispatchEvent(new CustomEvent('time', { detail: { seconds: this.seconds, playing: !this.media.paused } }));
  }

  #tick = () => {
    if (!this.isConnected) return;
    this.seconds = this.media.currentTime;
    this.#tell();
    if (!this.media.paused) requestAnimationFrame(this.#tick);
  };

  #changed() {
    this.playing = !this.media.paused;
    this.#tick();
  }

  #point(event) {
    if (event.type === 'pointermove' && !event.buttons) return;
    const { left, width } = event.currentTarget.getBoundingClientRect();
    this.seek(((event.clientX - left) / width) * this.duration);
  }

  #key(event) {
    const steps = { ArrowLeft: -5, ArrowRight: 5, ArrowDown: -5, ArrowUp: 5, PageDown: -30, PageUp: 30 };
    const ends = { Home: 0, End: this.duration };
    if (!(event.key in steps) && !(event.key in ends)) return;
    event.preventDefault();
    this.seek(ends[event.key] ?? this.seconds + steps[event.key]);
  }

  /** Bars of what is loud, played ones coloured; below them, where each line is, and which are doubted. */
  #draw() {
    const canvas = this.querySelector('canvas');
    if (!canvas?.clientWidth) return;
    const { clientWidth: width, clientHeight: height } = canvas;
    const scale = window.devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const pen = canvas.getContext('2d');
    pen.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const ink = { played: style.color, left: style.borderTopColor, line: style.borderBottomColor, doubt: style.outlineColor };
    const at = (seconds) => (this.duration ? (seconds / this.duration) * width : 0);
    const most = height - 8;
    for (let x = 0; x < width; x += BAR + GAP) {
      const bar = Math.max(2, this.#loudness(x / width, (x + BAR + GAP) / width) * most);
      pen.fillStyle = x < at(this.seconds) ? ink.played : ink.left;
      pen.fillRect(x, (most - bar) / 2, BAR, bar);
    }
    for (const [start, end, doubted] of this.duration ? this.marks : []) {
      pen.fillStyle = doubted ? ink.doubt : ink.line;
      pen.fillRect(at(start), height - 3, Math.max(2, at(end) - at(start) - 1), 3);
    }
  }

  /** Between two shares of the recording, as tall as it is drawn: the root, or speech beside one loud bang is a line. */
  #loudness(from, to) {
    if (!this.peaks) return 0;
    const [first, last] = [from, to].map((share) => Math.floor(share * this.peaks.length));
    return Math.max(...this.peaks.subarray(first, Math.max(first + 1, last))) ** 0.6;
  }

  get isVideo() {
    return this.file.type.startsWith('video/');
  }

  #element() {
    const changed = () => this.#changed();
    const know = () => {
      this.#know(this.media.duration);
      this.pictureless = this.media.videoWidth === 0;
    };
    const failed = () => (this.unplayable = true);
    return this.isVideo
      ? html`<video src=${this.url} playsinline ?hidden=${this.pictureless} @click=${() => this.toggle()}
          @loadedmetadata=${know} @play=${changed} @pause=${changed} @seeked=${this.#tick} @error=${failed}></video>`
      : html`<audio src=${this.url}
          @loadedmetadata=${know} @play=${changed} @pause=${changed} @seeked=${this.#tick} @error=${failed}></audio>`;
  }

  render() {
    if (!this.file) return nothing;
    const name = this.playing ? 'Pause' : 'Play';
    return html`${this.#element()}
      <div class="controls">
        <button type="button" class="play" aria-label=${name} aria-keyshortcuts="Alt+K" ?disabled=${this.unplayable}
          @click=${() => this.toggle()}>
          ${icon(this.playing ? 'pause' : 'play')}
        </button>
        <div class="wave" role="slider" tabindex="0" aria-label="Position" aria-valuemin="0"
          aria-valuemax=${Math.round(this.duration)} aria-valuenow=${Math.round(this.seconds)}
          aria-valuetext="${clock(this.seconds)} of ${clock(this.duration)}"
          @pointerdown=${this.#point} @pointermove=${this.#point} @keydown=${this.#key}>
          <canvas></canvas>
        </div>
        <span class="clocks"><b>${clock(this.seconds)}</b><span class="of"> / </span>${clock(this.duration)}</span>
        ${this.isVideo && !this.pictureless ? this.#captionsField() : nothing}
        <select class="speed" aria-label="Speed" @change=${(event) => (this.media.playbackRate = event.target.value)}>
          ${SPEEDS.map((speed) => html`<option value=${speed} ?selected=${speed === 1}>${speed}×</option>`)}
        </select>
      </div>
      ${this.unplayable ? html`<p class="soft">This browser cannot play the recording; the lines are right all the same.</p>` : nothing}`;
  }
}

/** As WebVTT wants it. */
function escaped(text) {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;');
}

function isDoubted(segment) {
  return [TRANSCRIPT, ...Object.keys(segment.translations)].some((column) => doubtOf(segment, column));
}

customElements.define('audio-player', AudioPlayer);
