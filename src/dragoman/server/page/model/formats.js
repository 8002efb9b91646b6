// What a session is downloaded as. Subtitles are made by the server, which breaks lines; the rest is made here.

import { joined, spokenLanguage, textOf, TRANSCRIPT } from './segments.js';

export const FORMATS = ['srt', 'vtt', 'txt', 'tsv', 'json'];

const TYPES = { srt: 'application/x-subrip', vtt: 'text/vtt', txt: 'text/plain', json: 'application/json' };

export const typeOf = (format) => `${TYPES[format] ?? 'text/tab-separated-values'};charset=utf-8`;

/** `talk.deu+eng.srt`: the names that `dragoman translate` gives. */
export function fileName(session, format, columns) {
  const stem = session.name.replace(/\.[^.]+$/, '') || 'recording';
  const codes = codesOf(session.history.segments, columns);
  return [stem, ...(format === 'json' ? [] : [codes.join('+')]), format].join('.');
}

function codesOf(segments, columns) {
  return columns.map((column) => (column === TRANSCRIPT ? (spokenLanguage(segments) ?? 'und') : column));
}

const line = (segment, column) => textOf(segment, column).split(/\s+/).join(' ').trim();

export function toText(segments, columns) {
  const blocks = segments.map((segment) => columns.map((column) => line(segment, column)).filter(Boolean).join('\n'));
  return blocks.filter(Boolean).map((block) => `${block}\n`).join(columns.length > 1 ? '\n' : '');
}

/** Whisper's columns: start and end in milliseconds, text; a second language is a fourth column. */
export function toTable(segments, columns) {
  const ms = (seconds) => Math.round(1000 * seconds);
  const rows = segments
    .map((segment) => [ms(segment.start), ms(segment.end), ...columns.map((column) => line(segment, column))])
    .filter((row) => row.slice(2).some(Boolean));
  const names = columns.length > 1 ? codesOf(segments, columns).map((code) => `text_${code}`) : ['text'];
  return [['start', 'end', ...names], ...rows].map((row) => `${row.join('\t')}\n`).join('');
}

/** As `dragoman translate --output_format json` writes it. */
export function toJson(session) {
  const { segments } = session.history;
  const whole = (column) => segments.reduce((text, segment) => joined(text, textOf(segment, column)), '');
  const written = {
    audio: session.name,
    language: spokenLanguage(segments),
    targets: session.targets,
    transcript: whole(TRANSCRIPT),
    translations: Object.fromEntries(session.targets.map((code) => [code, whole(code)])),
    segments: segments.map(({ key, start, end, text, ...rest }) => ({
      start_s: start,
      end_s: end,
      transcript: text,
      ...rest,
    })),
  };
  return `${JSON.stringify(written, null, 1)}\n`;
}
