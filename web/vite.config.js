// How the page is built: one bundle, nothing inlined (a strict policy forbids `data:` and
// inline scripts), names that stay the same (hubs have the files in the program, by name), and in
// development the mock answers `/v1`.
import { defineConfig } from 'vite';
import { svelte } from '@sveltejs/vite-plugin-svelte';

const asset = ({ names }) => ((names ?? []).some((name) => name.endsWith('.css')) ? 'page.css' : 'land.json');

export default defineConfig({
  base: './',
  plugins: [svelte()],
  build: {
    assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: 'es2022', reportCompressedSize: false,
    rollupOptions: { output: { entryFileNames: 'page.js', chunkFileNames: '[name].js', assetFileNames: asset } },
  },
  server: { proxy: { '/v1': 'http://127.0.0.1:4180' } },
});
