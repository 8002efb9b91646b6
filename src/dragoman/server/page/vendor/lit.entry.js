// npm install lit@3.3.3 esbuild && npx esbuild lit.entry.js --bundle --format=esm --minify --legal-comments=none --outfile=lit.js
export { LitElement, html, nothing, svg } from 'lit';
export { guard } from 'lit/directives/guard.js';
export { live } from 'lit/directives/live.js';
export { repeat } from 'lit/directives/repeat.js';
