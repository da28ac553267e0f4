// Packs what was built, and fails when what a browser loads is over 200 kB compressed. Also refuses what
// a strict content security policy would block, any address of another host, and files that a hub does
// not know (crates/weft/src/http/page). With `--same` it packs nothing and says whether dist/ is what
// the sources give, byte by byte; packed files may differ, since zlib's versions do.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';

const MOST = 200_000;
const KNOWN = ['icon.svg', 'index.html', 'land.json', 'page.css', 'page.js'];
const same = process.argv.includes('--same');
const dist = new URL('../dist/', import.meta.url);
const built = same ? new URL('../node_modules/.built/', import.meta.url) : dist;
const files = (folder) => readdirSync(folder).filter((name) => !name.endsWith('.gz')).sort();
const wrong = [];
let sum = 0;
if (files(built).join() !== KNOWN.join()) wrong.push(`the build has ${files(built)}, and hubs know ${KNOWN}`);
for (const name of files(built)) {
  const bytes = readFileSync(new URL(name, built));
  const packed = gzipSync(bytes, { level: 9 });
  sum += packed.length;
  console.log(`${String(packed.length).padStart(8)} B  ${name}`);
  if (name.endsWith('.html')) {
    const text = bytes.toString();
    if (/<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=/i.test(text)) wrong.push(`${name}: an inline script or style`);
    if (/(?:src|href)="(?:https?:)?\/\//i.test(text)) wrong.push(`${name}: an address of another host`);
  }
  if (!same) writeFileSync(new URL(`${name}.gz`, dist), packed);
  else if (!readFileSync(new URL(name, dist)).equals(bytes) || !gunzipSync(readFileSync(new URL(`${name}.gz`, dist))).equals(bytes)) {
    wrong.push(`dist/${name} is not what the sources give: run \`cargo xtask web\` and commit it`);
  }
}
console.log(`${String(sum).padStart(8)} B  in all, gzip; at most ${MOST}`);
if (sum > MOST) wrong.push(`${sum} B are more than ${MOST}`);
if (wrong.length > 0) {
  console.error(wrong.join('\n'));
  process.exit(1);
}
