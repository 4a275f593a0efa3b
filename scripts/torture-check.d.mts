export function checkLogs(folder: string): {
  accepted: number;
  delivered: number;
  redelivered: number;
  violations: string[];
};
