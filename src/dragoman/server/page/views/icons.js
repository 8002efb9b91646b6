// Icons, drawn with the colour and in the size of the text around them; always beside a name that can be read aloud.

import { html, svg } from '../vendor/lit.js';

const SHAPES = {
  play: svg`<path d="M7 4.5v15l12.5-7.5z" fill="currentColor" stroke="none"/>`,
  pause: svg`<path d="M7 4.5h3.5v15H7zM13.5 4.5H17v15h-3.5z" fill="currentColor" stroke="none"/>`,
  stop: svg`<rect x="6" y="6" width="12" height="12" rx="2" fill="currentColor" stroke="none"/>`,
  microphone: svg`<rect x="9" y="3" width="6" height="11" rx="3"/><path d="M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3"/>`,
  file: svg`<path d="M13.5 3H7a2 2 0 0 0-2 2v14a2 2 0 0 0 2 2h10a2 2 0 0 0 2-2V8.5zM13.5 3v5.5H19"/>`,
  wave: svg`<path d="M3 12h.01M7 8.5v7M11 4v16M15 7.5v9M19 10.5v3"/>`,
  undo: svg`<path d="M8 5 4 9l4 4M4 9h10.5a5.5 5.5 0 0 1 0 11H9"/>`,
  redo: svg`<path d="m16 5 4 4-4 4M20 9H9.5a5.5 5.5 0 0 0 0 11H15"/>`,
  download: svg`<path d="M12 4v11.5M7 11l5 5 5-5M4.5 20.5h15"/>`,
  edit: svg`<path d="M4.5 19.5 5.5 15 16 4.5l3.5 3.5L9 18.5z"/>`,
  split: svg`<path d="M4 12h16M12 3v5M9.5 5.5 12 8l2.5-2.5M12 21v-5M9.5 18.5 12 16l2.5 2.5"/>`,
  merge: svg`<path d="M5 4h14M5 20h14M12 7v10M9 14l3 3 3-3"/>`,
  close: svg`<path d="m6 6 12 12M18 6 6 18"/>`,
  keyboard: svg`<rect x="2.5" y="6" width="19" height="12.5" rx="2"/><path d="M6.5 10h.01M10 10h.01M14 10h.01M17.5 10h.01M8 14.5h8"/>`,
  next: svg`<path d="M12 4v15M6.5 13.5 12 19l5.5-5.5"/>`,
};

export function icon(name) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">${SHAPES[name]}</svg>`;
}
