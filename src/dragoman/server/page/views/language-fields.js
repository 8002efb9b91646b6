// What is spoken, and what to translate into. A few languages are all shown; of many, the chosen ones.

import { html, LitElement, live, nothing } from '../vendor/lit.js';
import { byName, nameOf } from '../model/languages.js';
import { icon } from './icons.js';

const FEW = 10;

export class LanguageFields extends LitElement {
  static properties = { model: {}, source: {}, targets: {}, unknown: { state: true } };

  createRenderRoot() {
    return this;
  }

  #tell(change) {
    this.dispatchEvent(new CustomEvent('languages', { detail: change }));
  }

  #toggle(code, wanted) {
    this.unknown = '';
    this.#tell({ targets: wanted ? [...this.targets, code] : this.targets.filter((other) => other !== code) });
  }

  #add(field) {
    const typed = field.value.trim().toLowerCase();
    if (!typed) return;
    const found = this.model.targets.find(({ code, iso1, name }) => [code, iso1, name.toLowerCase()].includes(typed));
    if (!found) {
      this.unknown = `${field.value} is not among the languages of this model.`;
      return;
    }
    field.value = '';
    if (!this.targets.includes(found.code)) this.#toggle(found.code, true);
  }

  #few() {
    return html`<div class="pills">
      ${byName(this.model.targets).map(
        ({ code, name }) =>
          html`<label class="pill">
            <input type="checkbox" name="target" value=${code} .checked=${live(this.targets.includes(code))}
              @change=${(event) => this.#toggle(code, event.target.checked)} />
            <span>${name}</span>
          </label>`,
      )}
    </div>`;
  }

  #many() {
    const left = byName(this.model.targets).filter(({ code }) => !this.targets.includes(code));
    const add = (event) => this.#add(event.target);
    return html`<div class="chips">
        ${this.targets.map(
          (code) =>
            html`<span class="chip">${nameOf(code)}
              <button type="button" class="bare" aria-label="Remove ${nameOf(code)}" @click=${() => this.#toggle(code, false)}>
                ${icon('close')}
              </button>
            </span>`,
        )}
        <input list="targets" aria-label="Add a language to translate into" placeholder="Add a language" autocomplete="off"
          aria-describedby="unknown-target" @change=${add}
          @input=${(event) => left.some(({ name }) => name === event.target.value) && add(event)}
          @keydown=${(event) => event.key === 'Enter' && (event.preventDefault(), add(event))} />
      </div>
      <datalist id="targets">${left.map(({ name }) => html`<option value=${name}></option>`)}</datalist>
      <p id="unknown-target" class="wrong" role="status">${this.unknown || nothing}</p>`;
  }

  render() {
    const detects = this.model.detects_language;
    return html`<div class="field">
        <label for="source">Spoken language</label>
        <select id="source" ?required=${!detects} @change=${(event) => this.#tell({ source: event.target.value })}>
          <option value="" ?selected=${!this.source} ?disabled=${!detects}>${detects ? 'Detect it' : 'Choose it'}</option>
          ${byName(this.model.sources).map(
            ({ code, name }) => html`<option value=${code} ?selected=${code === this.source}>${name}</option>`,
          )}
        </select>
      </div>
      <fieldset class="field">
        <legend>Translate into</legend>
        ${this.model.targets.length <= FEW ? this.#few() : this.#many()}
      </fieldset>`;
  }
}

customElements.define('language-fields', LanguageFields);
