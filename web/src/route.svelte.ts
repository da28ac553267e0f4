// Where the page is: `#/view/segment?name=value`, each part encoded, so that any topic can be one.
export class Route {
  view = $state('map');
  segments = $state<string[]>([]);
  query = $state<URLSearchParams>(new URLSearchParams());

  constructor() {
    addEventListener('hashchange', () => this.read());
    this.read();
  }

  read(): void {
    const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?', 2);
    const parts = path.split('/').map(decoded);
    this.view = parts[0] || 'map';
    this.segments = parts.slice(1);
    this.query = new URLSearchParams(query);
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of a view. */
export function to(view: string, ...segments: string[]): string {
  return `#/${[view, ...segments].map(encodeURIComponent).join('/')}`;
}

export const route = new Route();
