// The page: what is shown, the one session and where it is kept, the key.

import { html, LitElement, nothing } from './vendor/lit.js';
import { key, served } from './io/api.js';
import { History } from './model/history.js';
import { learn, nameOf } from './model/languages.js';
import { Session } from './model/session.js';
import * as storage from './model/storage.js';
import { icon } from './views/icons.js';
import './views/live-view.js';
import './views/session-view.js';
import './views/start-view.js';

const CHOICE = 'dragoman.choice';
const NOTHING_CHOSEN = { file: null, source: '', targets: [], words: '', multilingual: false };
const SAVE_AFTER_MS = 300;
const ASK_AGAIN_MS = 3000;

export class DragomanApp extends LitElement {
  static properties = {
    model: { state: true },
    choice: { state: true },
    session: { state: true },
    version: { state: true },
    live: { state: true },
    locked: { state: true }, // a key is asked for
    problem: { state: true },
  };

  constructor() {
    super();
    this.choice = { ...NOTHING_CHOSEN, ...remembered() };
    this.version = 0;
    this.live = location.hash === '#live';
  }

  createRenderRoot() {
    this.replaceChildren(); // what was there for the first paint
    return this;
  }

  connectedCallback() {
    super.connectedCallback();
    addEventListener('hashchange', () => (this.live = location.hash === '#live'));
    addEventListener('pagehide', () => this.#save());
    document.addEventListener('visibilitychange', () => document.hidden && this.#save());
    // a file that misses the drop area must not take the page's place
    for (const name of ['dragover', 'drop']) addEventListener(name, (event) => event.preventDefault());
    this.#restore();
    this.#askModel();
  }

  async #askModel() {
    try {
      const model = await served();
      learn([...model.sources, ...model.targets]);
      const known = new Set(model.targets.map(({ code }) => code));
      const spoken = new Set(model.sources.map(({ code }) => code));
      this.#choose({
        targets: this.choice.targets.filter((code) => known.has(code)),
        source: spoken.has(this.choice.source) ? this.choice.source : '',
        multilingual: this.choice.multilingual && model.detects_language,
      });
      Object.assign(this, { model, problem: '', locked: false });
    } catch (error) {
      if (error.status === 401) this.#askKey(() => this.#askModel());
      else {
        this.problem = error.message;
        setTimeout(() => this.#askModel(), ASK_AGAIN_MS);
      }
    }
  }

  #choose(change) {
    this.choice = { ...this.choice, ...change };
    const { file, ...kept } = this.choice;
    localStorage.setItem(CHOICE, JSON.stringify(kept));
  }

  async #restore() {
    try {
      const [stored, file] = [await storage.get('session'), await storage.get('file')];
      if (stored && !this.session) this.session = Session.fromStored(stored, file);
    } catch {
      // a private window without IndexedDB: the session lasts as long as the page
    }
  }

  #changed() {
    this.version++;
    this.saving ??= setTimeout(() => this.#save(), SAVE_AFTER_MS);
  }

  #save() {
    clearTimeout(this.saving);
    this.saving = null;
    if (this.session) storage.put('session', this.session.toStored()).catch(() => {});
  }

  async #keep(session) {
    this.session = session;
    try {
      await storage.put('file', session.file);
    } catch {
      await storage.clear().catch(() => {}); // no room for the recording: its lines are kept all the same
    }
    this.#changed();
  }

  #begin() {
    this.#keep(new Session(this.choice));
    this.#run();
  }

  async #run() {
    const { session } = this;
    await session.run(this.model, () => session === this.session && this.#changed());
    if (session.error?.status === 401) this.#askKey(() => this.#run());
  }

  #finished({ file, segments, duration, error }) {
    const session = new Session({ ...this.choice, file });
    Object.assign(session, { duration, error, state: error ? 'broken' : 'done', heard: segments.at(-1).end });
    session.history = new History();
    for (const segment of segments) session.history.append(segment);
    this.#keep(session);
    location.hash = '';
  }

  async #forget() {
    this.session?.stop();
    this.session = null;
    clearTimeout(this.saving);
    this.saving = null;
    this.#choose({ file: null });
    await storage.clear().catch(() => {});
    this.querySelector('.top a')?.focus();
  }

  #new() {
    if (this.session.history.segments.length) this.querySelector('#forget').showModal();
    else this.#forget();
  }

  #askKey(then) {
    this.afterKey = then;
    this.locked = true;
    this.requestUpdate(); // the key that was given may have been a wrong one
    const dialog = this.querySelector('#key');
    if (dialog && !dialog.open) dialog.showModal();
  }

  #keyGiven(event) {
    event.preventDefault();
    key.set(new FormData(event.target).get('key').trim());
    this.querySelector('#key').close();
    this.afterKey?.();
  }

  updated() {
    const name = this.live ? 'Live captions' : this.session?.name;
    document.title = name ? `${name} · Dragoman` : 'Dragoman';
  }

  #main() {
    const choose = (event) => this.#choose(event.detail);
    const ask = () => this.#askKey(() => {});
    if (this.live) {
      return html`<live-view .model=${this.model} .replaced=${this.session?.name} .choice=${this.choice} @choose=${choose} @key=${ask}
        @finished=${(event) => this.#finished(event.detail)}></live-view>`;
    }
    if (!this.session) {
      return html`<start-view .model=${this.model} .choice=${this.choice} @choose=${choose} @begin=${() => this.#begin()}></start-view>`;
    }
    const duration = (event) => {
      this.session.duration ??= event.detail;
      this.#changed();
    };
    return html`<session-view .session=${this.session} .model=${this.model} .version=${this.version} @key=${ask}
      @changed=${() => this.#changed()} @again=${() => this.model && this.#run()} @new=${() => this.#new()}
      @duration=${duration}></session-view>`;
  }

  #keyDialog() {
    return html`<dialog id="key" aria-labelledby="key-title">
      <form class="panel" @submit=${this.#keyGiven}>
        <h2 id="key-title">This server asks for a key</h2>
        <div class="field">
          <label for="key-field">Key</label>
          <input id="key-field" name="key" type="password" autocomplete="current-password" required aria-describedby="key-hint" />
          ${key.get() ? html`<p class="wrong">The key that was given is not the right one.</p>` : nothing}
          <p id="key-hint" class="hint">Whoever runs the server has it. It is kept until this tab is closed.</p>
        </div>
        <div class="row end"><button class="button primary">Go on</button></div>
      </form>
    </dialog>`;
  }

  #forgetDialog() {
    const close = () => this.querySelector('#forget').close();
    return html`<dialog id="forget" aria-labelledby="forget-title">
      <div class="panel">
        <h2 id="forget-title">Start with a new recording?</h2>
        <p>The lines of this one are kept only in this browser, and are deleted. Download them first if you need them.</p>
        <div class="row end">
          <button type="button" class="button quiet" @click=${close}>Keep it</button>
          <button type="button" class="button primary" @click=${() => (close(), this.#forget())}>Delete and start anew</button>
        </div>
      </div>
    </dialog>`;
  }

  #keysDialog() {
    const keys = [
      ['Alt K, or Esc', 'Play, pause'],
      ['Alt J, Alt L', '3 seconds back, forth'],
      ['↑ ↓', 'The line before, after'],
      ['Enter', 'While editing: save the line'],
      ['Ctrl Enter', 'While editing: split the line at the cursor'],
      ['Esc', 'While editing: leave the line as it was'],
      ['Ctrl Z, Ctrl Shift Z', 'Undo, redo'],
    ];
    const close = () => this.querySelector('#keys').close();
    return html`<dialog id="keys" aria-labelledby="keys-title" @click=${(event) => event.target.id === 'keys' && close()}>
      <div class="panel">
        <h2 id="keys-title">Keyboard</h2>
        <dl class="keys">${keys.map(([name, what]) => html`<dt>${name}</dt><dd>${what}</dd>`)}</dl>
        <div class="row end"><button type="button" class="button" @click=${close}>Close</button></div>
      </div>
    </dialog>`;
  }

  #lockedNotice() {
    return html`<div class="notice">
      <p>This server asks for a key.</p>
      <button type="button" class="button small" @click=${() => this.#askKey(this.afterKey)}>Enter the key</button>
    </div>`;
  }

  #where(model) {
    const count = new Set([...model.sources, ...model.targets].map(({ code }) => code)).size;
    return html`<span class="model" title="Languages: ${model.targets.map(({ code }) => nameOf(code)).join(', ')}">
      ${model.id} · ${count} languages
    </span>`;
  }

  render() {
    const current = (is) => (is ? 'page' : nothing);
    return html`<header class="top">
        <a class="mark" href="#"><img src="${new URL('icon.svg', import.meta.url)}" alt="" width="26" height="26" />Dragoman</a>
        <nav aria-label="Pages">
          <a href="#" aria-current=${current(!this.live)}>Recording</a>
          <a href="#live" aria-current=${current(this.live)}>Live</a>
        </nav>
        ${this.model ? this.#where(this.model) : nothing}
        <button type="button" class="bare help" aria-label="Keyboard" title="Keyboard" @click=${() => this.querySelector('#keys').showModal()}>
          ${icon('keyboard')}
        </button>
      </header>
      <main>
        ${this.problem ? html`<p class="notice wrong" role="alert">${this.problem} Trying again …</p>` : nothing}
        ${this.locked && !this.model ? this.#lockedNotice() : nothing} ${this.#main()}
      </main>
      ${this.#keyDialog()} ${this.#forgetDialog()} ${this.#keysDialog()}`;
  }
}

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(CHOICE)) ?? {};
  } catch {
    return {};
  }
}

customElements.define('dragoman-app', DragomanApp);
