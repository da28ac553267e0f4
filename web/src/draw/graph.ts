// The graph: hubs lie where the forces of their links put them. Laid out once for each set of
// hubs and links, in at most 300 steps, from places on a circle, so that it is the same each time.
import { forceCenter, forceLink, forceManyBody, forceSimulation, forceX, forceY, type SimulationNodeDatum } from 'd3-force';
import type { Mesh } from '../api';
import type { Look, Point } from './scene';

export function graph(): Look {
  let shape = '';
  let laid: Point[] = [];
  const lay = (mesh: Mesh): void => {
    const nodes: SimulationNodeDatum[] = mesh.hubs.map((_, at) => {
      const angle = (at / mesh.hubs.length) * 2 * Math.PI;
      return { x: 200 * Math.cos(angle), y: 200 * Math.sin(angle) };
    });
    const index = new Map(mesh.hubs.map((hub, at) => [hub.name, at]));
    const links = mesh.links
      .map((link) => ({ source: index.get(link.from) ?? -1, target: index.get(link.to) ?? -1 }))
      .filter((link) => link.source >= 0 && link.target >= 0);
    const simulation = forceSimulation(nodes).stop();
    simulation.force('link', forceLink(links).distance(40)).force('body', forceManyBody().strength(-80));
    simulation.force('x', forceX(0).strength(0.05)).force('y', forceY(0).strength(0.08)).force('centre', forceCenter());
    simulation.tick(mesh.hubs.length > 100 ? 150 : 300);
    laid = nodes.map((node) => [node.x ?? 0, node.y ?? 0]);
  };
  return {
    back() {},
    places(mesh, width, height) {
      const now = `${mesh.hubs.map((hub) => hub.name)}|${mesh.links.map((link) => `${link.from}>${link.to}`)}`;
      if (now !== shape) {
        lay(mesh);
        shape = now;
      }
      const xs = laid.map(([x]) => x);
      const ys = laid.map(([, y]) => y);
      const [left, top] = [Math.min(...xs), Math.min(...ys)];
      const across = Math.max(...xs) - left || 1;
      const down = Math.max(...ys) - top || 1;
      return laid.map(([x, y]) => [30 + ((x - left) / across) * (width - 120), 30 + ((y - top) / down) * (height - 60)]);
    },
  };
}
