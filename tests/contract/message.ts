import type { KnownBlock, MessageMetadata } from '@slack/types';
export interface Message { channel: string; text: string; blocks?: KnownBlock[]; metadata?: MessageMetadata; client_msg_id?: string; thread_ts?: string; parse?: 'none' | 'full'; link_names?: boolean; unfurl_links?: boolean; unfurl_media?: boolean; mrkdwn?: boolean }
